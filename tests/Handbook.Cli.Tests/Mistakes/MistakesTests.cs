using System.Text;
using System.Text.RegularExpressions;
using Handbook.Testing;

namespace Handbook.Cli.Tests.Mistakes;

/// <summary>Every kind of mistake of the catalogue: the whole message, word for word; nothing is written; and what the message advises
/// makes
/// the run go.</summary>
/// <remarks>The messages lie in <c>tests/golden/mistakes.txt</c>, to be read. With <c>HANDBOOK_WRITE_GOLDEN=1</c> they are written there in
/// the place of compared.</remarks>
[Collection("tensors")]
public sealed partial class MistakesTests
{
    private const string Heading = "=== ";

    private static readonly string s_golden = Path.Combine(SharedFiles.Repository, "tests", "golden", "mistakes.txt");

    private static bool Writes => Environment.GetEnvironmentVariable("HANDBOOK_WRITE_GOLDEN") == "1";

    private static IReadOnlyList<Mistake> All { get; } =
    [
        .. RecipeMistakes.All, .. ValueMistakes.All, .. DataMistakes.All, .. RowMistakes.All, .. ModelMistakes.All, .. TextMistakes.All,
        .. AdapterMistakes.All, .. MethodMistakes.All, .. RunMistakes.All, .. CommandMistakes.All,
    ];

    public static TheoryData<string> Quick => [.. All.Where(mistake => mistake.IsQuick).Select(mistake => mistake.Name)];

    public static TheoryData<string> Others => [.. All.Where(mistake => !mistake.IsQuick).Select(mistake => mistake.Name)];

    [Theory, MemberData(nameof(Quick))]
    public void A_mistake_is_told_and_what_is_advised_mends_it(string name) => Check(name);

    [Theory, MemberData(nameof(Others)), Trait("speed", "slow")]
    public void Every_mistake_is_told_and_what_is_advised_mends_it(string name) => Check(name);

    [Fact]
    public void The_golden_file_has_every_kind_once_and_no_other()
    {
        if (Writes)
        {
            var failures = new List<string>();
            File.WriteAllText(s_golden, $"""
                # What is printed for each kind of mistake, written by MistakesTests with HANDBOOK_WRITE_GOLDEN=1. Under each heading: what is wrong in a
                # run that is otherwise whole, the command, all that it says (HERE is the working folder), and what mends it.
                # {All.Count} kinds.

                {string.Join('\n', All.Select(mistake => Written(mistake, failures)))}
                """.ReplaceLineEndings("\n"));
            Assert.True(failures.Count == 0, $"{failures.Count} of {All.Count}\n{string.Join("\n\n", failures)}");
        }
        Assert.True(All.Count >= 120, $"{All.Count} kinds");
        Assert.Equal(All.Select(mistake => mistake.Name),
            File.ReadLines(s_golden).Where(line => line.StartsWith(Heading, StringComparison.Ordinal))
            .Select(line => line[Heading.Length..]));
        Assert.Equal(All.Count, All.DistinctBy(mistake => mistake.Name).Count());
    }

    private static string Written(Mistake mistake, List<string> failures)
    {
        try
        {
            return Section(mistake);
        }
        catch (Exception failure)
        {
            failures.Add($"{mistake.Name}\n{failure.Message}");
            return $"{Heading}{mistake.Name}\n";
        }
    }

    private static void Check(string name)
    {
        if (Writes)
            return;
        var mistake = All.Single(mistake => mistake.Name == name);
        var text = File.ReadAllText(s_golden);
        var at = text.IndexOf($"{Heading}{name}\n", StringComparison.Ordinal);
        Assert.True(at >= 0, $"{s_golden} has no part for it; HANDBOOK_WRITE_GOLDEN=1 writes it");
        var end = text.IndexOf($"\n{Heading}", at, StringComparison.Ordinal);
        Assert.Equal(end < 0 ? text[at..] : text[at..(end + 1)], Section(mistake) + (end < 0 ? "" : "\n"),
            ignoreLineEndingDifferences: false);
    }

    /// <summary>Breaks a run, looks, mends it, and runs it: the part of the golden file, if all was as it must be.</summary>
    private static string Section(Mistake mistake)
    {
        using var folder = new MistakeFolder(mistake.Method);
        var text = new StringBuilder($"{Heading}{mistake.Name}\n");
        mistake.Break(folder);
        foreach (var done in folder.Done())
            text.Append($"{folder.Plain(done)}\n");
        var told = Refused(mistake, folder, Words(mistake, folder, looks: mistake.IsSeenByValidate), text);
        if (mistake.IsSeenByValidate && mistake.Command is null)
            Assert.Equal(Errors(told), Errors(Refused(mistake, folder, Words(mistake, folder, looks: false), null)));

        mistake.Mend(folder);
        text.Append("mended by\n");
        foreach (var done in folder.Done())
            text.Append($"  {folder.Plain(done)}\n");
        Succeeds(mistake, folder, Words(mistake, folder, looks: mistake.IsSeenByValidate));
        if (mistake.IsSeenByValidate && mistake.Command is null)
            Succeeds(mistake, folder, [.. Words(mistake, folder, looks: false), .. mistake.Steps]);
        return text.ToString();
    }

    private static string[] Words(Mistake mistake, MistakeFolder folder, bool looks)
    {
        string[] command = mistake.Command?.Split(' ') ?? (looks ? ["validate", "r.yaml", "--method", mistake.Method]
            : [mistake.Method, "r.yaml"]);
        return [.. command, .. folder.CommandLine];
    }

    /// <summary>Runs what must be refused, and holds it to the promise.</summary>
    private static string Refused(Mistake mistake, MistakeFolder folder, string[] words, StringBuilder? text)
    {
        var before = folder.Files();
        var outcome = folder.Run(words);
        var told = folder.Plain(outcome.Error);
        text?.Append($"$ handbook {string.Join(' ', words.Select(word => word.Contains(' ') ? $"'{word}'" : word))}\n{told}");
        var where = $"{mistake.Name}: handbook {string.Join(' ', words)}";
        Assert.True(outcome.Code == 2, $"{where}: exit code {outcome.Code}\n{told}");
        Assert.True(told.Contains("  fix: ", StringComparison.Ordinal), $"{where}: no cure in\n{told}");
        Assert.True(Errors(told).Split('\n').All(line => line.Length <= 2000), $"{where}: a long line in\n{told}");
        Assert.False(Raw().IsMatch(told), $"{where}: an exception's own words in\n{told}");
        Assert.Equal(before, folder.Files());
        return told;
    }

    private static void Succeeds(Mistake mistake, MistakeFolder folder, string[] words)
    {
        var outcome = folder.Run(words);
        Assert.True(outcome.Code == 0,
            $"{mistake.Name}: mended, but handbook {string.Join(' ', words)} gives {outcome.Code}\n{outcome.Error}");
    }

    /// <summary>From the first error on: what comes before are notes, and what a run tells of itself.</summary>
    private static string Errors(string told) => FirstError().Match(told) is { Success: true } match ? told[match.Index..] : told;

    [GeneratedRegex(@"^   at |Exception\b|System\.|0x[0-9a-fA-F]{8}", RegexOptions.Multiline)]
    private static partial Regex Raw();

    [GeneratedRegex(@"^(?:[^\n]*: )?error: ", RegexOptions.Multiline)]
    private static partial Regex FirstError();
}
