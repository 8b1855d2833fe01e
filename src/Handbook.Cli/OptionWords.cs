using System.CommandLine;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Torch;
using Handbook.Training.Plans;

namespace Handbook.Cli;

/// <summary>What options share: a few words, a number's bound, a text file, an element type.</summary>
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

    /// <summary>The option <c>--dtype</c> of a command that computes with a model.</summary>
    public static Option<string> Precision()
    {
        var option = new Option<string>("--dtype")
        { Description = "element type of products; bfloat16 is faster on processors that have it", DefaultValueFactory = _ => "float32" };
        option.AcceptOnly("float32", "bfloat16");
        return option;
    }

    /// <summary>What <see cref="Precision"/> says.</summary>
    public static DType Compute(this ParseResult args, Option<string> precision) =>
        args.GetValue(precision) == "bfloat16" ? DType.BFloat16 : DType.Float32;

    /// <summary>Those of some options that were typed.</summary>
    public static IReadOnlyList<Option> Given(this ParseResult args, params IEnumerable<Option> options) =>
        [.. options.Where(option => args.GetResult(option) is { Implicit: false })];

    /// <summary>Tells of options that were typed and change nothing.</summary>
    /// <param name="why">Why not.</param>
    public static void NoteUnused(this ParseResult args, IWorkObserver observer, string why, params IEnumerable<Option> options)
    {
        foreach (var option in args.Given(options))
            observer.Noted($"{option.Name} has no effect: {why}");
    }

    /// <summary>The option <c>--use-cpu</c> of a command that computes with a model.</summary>
    public static Option<bool> UseCpu() => new("--use-cpu") { Description = "compute on the CPU although there is a GPU" };

    /// <summary>What <see cref="UseCpu"/> says.</summary>
    /// <param name="localRank">Which process of its host computes, from 0.</param>
    public static DeviceWish Wish(this ParseResult args, Option<bool> useCpu, int localRank = 0) => new(args.GetValue(useCpu), useCpu.Name, localRank);

    /// <summary>A count, or none.</summary>
    /// <exception cref="InputException">It is below 1.</exception>
    public static int? AtLeastOne(this ParseResult args, Option<int?> option, string fix)
    {
        var value = args.GetValue(option);
        return value is not < 1 ? value : throw new InputException($"{option.Name} is {value}, but must be at least 1", fix: fix);
    }

    /// <inheritdoc cref="AtLeastOne(ParseResult, Option{int?}, string)"/>
    public static int AtLeastOne(this ParseResult args, Option<int> option, string fix = "leave it out")
    {
        var value = args.GetValue(option);
        return value >= 1 ? value : throw new InputException($"{option.Name} is {value}, but must be at least 1", fix: fix);
    }

    /// <summary>The text of a file that an option names.</summary>
    /// <exception cref="InputException">It cannot be read.</exception>
    public static string Text(string option, string file)
    {
        try
        {
            return Directory.Exists(file) ? throw new InputException($"{option} {file} is a folder", fix: "name a text file")
                : File.ReadAllText(file, new System.Text.UTF8Encoding(false, throwOnInvalidBytes: true));
        }
        catch (System.Text.DecoderFallbackException failure)
        {
            throw new InputException($"{option} {file} is no text in UTF-8", fix: "name a text file, or convert it to UTF-8", inner: failure);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{option} {file} cannot be read: {failure.Message}", fix: "name a text file", inner: failure);
        }
    }
}
