using System.CommandLine;

namespace Handbook.Cli;

/// <summary>Options that take one of a few words.</summary>
internal static class OptionWords
{
    /// <summary>Refuses every other word, with the option's name and the words that it takes.</summary>
    public static void AcceptOnly(this Option option, params string[] words)
    {
        option.CompletionSources.Add(words);
        option.Validators.Add(result =>
        {
            foreach (var token in result.Tokens.Where(token => !words.Contains(token.Value)))
                result.AddError($"{option.Name} is {token.Value}, but must be {string.Join(", ", words[..^1])} or {words[^1]}");
        });
    }
}
