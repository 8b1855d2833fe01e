using System.CommandLine;
using Handbook.Base;

namespace Handbook.Cli;

/// <summary>What options share: a few words, or a text file.</summary>
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

    /// <summary>The text of a file that an option names.</summary>
    /// <exception cref="InputException">It cannot be read.</exception>
    public static string Text(string option, string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{option} {file} cannot be read: {failure.Message}", fix: "name a text file", inner: failure);
        }
    }
}
