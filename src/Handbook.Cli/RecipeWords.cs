using System.CommandLine;
using Handbook.Base;
using Handbook.Recipes;

namespace Handbook.Cli;

/// <summary>The words behind a command that takes a recipe and overrides of its keys.</summary>
internal static class RecipeWords
{
    /// <summary>What the words are called among a command's arguments.</summary>
    public const string Name = "recipe";

    /// <summary>For the help text; the words themselves are read by <see cref="Of"/>, in their order.</summary>
    public static Argument<string[]> Argument => new(Name)
    {
        Description = "the YAML recipe, and any of its keys to change for this run: --key=value, --key value, --flag, --no_flag; "
            + "`handbook explain` tells of the keys",
        HelpName = "RECIPE [--key=value…]",
        Arity = ArgumentArity.ZeroOrMore,
    };

    /// <summary>The command's own option that a word is nearer to than to any key; null where it is a key, or nearer to one.</summary>
    private static string? MeantOption(string word, string[] ownOptions)
    {
        var key = word[2..].Split('.')[0].Replace('-', '_');
        return ownOptions.Length == 0 || RecipeKeys.Find(key) is not null || LauncherOptions.Contains(word[2..])
            || Spelling.Nearest(word, ownOptions.Concat(RecipeKeys.All.Select(known => "--" + known.Name))) is not { } near
            || !ownOptions.Contains(near) ? null : near;
    }

    /// <summary>The recipe and its overrides.</summary>
    public static (FileInfo File, IReadOnlyList<string> Overrides) Of(ParseResult result, params string[] ownOptions)
    {
        List<string> words = [];
        var tokens = result.Tokens.SkipWhile(token => token.Value != result.CommandResult.Command.Name).Skip(1)
            .Select(token => token.Value).ToArray();
        for (var i = 0; i < tokens.Length; i++)
            if (ownOptions.Contains(tokens[i]))
                // and its value
                i += result.CommandResult.Command.Options.Any(option => option.Name == tokens[i] && option.ValueType == typeof(bool)) ? 0
                    : 1;
            else if (!ownOptions.Any(option => tokens[i].StartsWith(option + "=", StringComparison.Ordinal)))
                words.Add(tokens[i]);
        var (recipe, overrides) = RecipeArguments.Split(words);
        var command = Commands.Path(result);
        foreach (var stray in words.Where(word => word.StartsWith("--", StringComparison.Ordinal)).Select(word => word.Split('=')[0]))
            if (MeantOption(stray, ownOptions) is { } meant)
                throw new InputException($"{stray} is neither an option of `{command}` nor a key of a recipe", fix: $"did you mean {meant}?");
        return recipe is null
            ? throw new InputException($"{command}: no recipe is named",
                overrides.Count > 0 ? "keys on the command line change those of a recipe, and a run is repeated from its recipe" : null,
                overrides.Count > 0 ? $"write the keys into a YAML file, a line `key: value` each, and name it: `{command} mine.yaml`; "
                    + "`handbook migrate` makes a recipe of a script with such a command line"
                    : $"`{command} recipes/tiny/sft.yaml`, or any other YAML recipe")
            : (new FileInfo(recipe), overrides);
    }
}
