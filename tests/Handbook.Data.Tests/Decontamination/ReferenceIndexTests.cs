using Handbook.Data.Decontamination;

namespace Handbook.Data.Tests.Decontamination;

/// <summary>Fingerprints find what a plain search finds, and nothing else.</summary>
public sealed class ReferenceIndexTests
{
    private static readonly string[] s_words = ["the", "Sun", "moon,", "a", "of", "x+y", "Ω", "été", "42", "日本", "\n", "  "];

    [Fact] // h(ab) = (a+1)·B + (b+1), so equal parts of different texts have equal hashes, and others have not
    public void Parts_of_texts_have_the_hash_of_what_they_say()
    {
        var (one, other) = (new TextHash(), new TextHash());
        one.Read("what is the sum of x and y");
        other.Read("the sum of z");
        Assert.Equal(one.Of(8, 10), other.Of(0, 10));
        Assert.NotEqual(one.Of(8, 12), other.Of(0, 12));
        Assert.NotEqual(one.Of(0, 0), one.Of(0, 1));
        one.Read("\0\0");
        Assert.NotEqual(one.Of(0, 1), one.Of(0, 2));        // a character of the number 0 counts
    }

    [Fact] // 200 seeds: every reference text of 8 and more characters, against string.Contains on the normal forms
    public void Whole_texts_are_found_exactly_where_they_stand()
    {
        for (var seed = 0; seed < 200; seed++)
        {
            var random = new Random(seed);
            string[] references = [.. Enumerable.Range(0, 6).Select(_ => Words(random, random.Next(1, 14)))];
            var index = Index(references, words: 0);
            for (var k = 0; k < 8; k++)
            {
                var text = Words(random, random.Next(1, 60));
                if (k % 2 == 0)
                    text = text.Insert(random.Next(text.Length), Disturbed(references[random.Next(6)], random));
                var expected = references.Any(reference => NormalText.Of(reference).Length >= 8
                    && NormalText.Of(text).Contains(NormalText.Of(reference), StringComparison.Ordinal));
                Assert.Equal(expected, index.Find(text) is not null);
            }
        }
    }

    [Theory] // 200 seeds each: runs of words, against lists of words; overlap 0 asks for one run, 0.5 for half of a text's
    [InlineData(5, 0)]
    [InlineData(5, 0.5)]
    [InlineData(8, 1)]
    public void Runs_of_words_are_found_as_often_as_is_asked(int words, double overlap)
    {
        for (var seed = 0; seed < 200; seed++)
        {
            var random = new Random(seed);
            string[] references = [.. Enumerable.Range(0, 4).Select(_ => Words(random, random.Next(4, 20)))];
            var index = Index(references, words, overlap, minLength: int.MaxValue);
            var piece = references[0].Split(' ');
            var text = string.Join(" / ", [Words(random, 9), .. piece[random.Next(piece.Length)..], Words(random, 9)]).ToUpperInvariant();
            var runs = Runs(text, words);
            var expected = references.Any(reference => Runs(reference, words) is { Count: > 0 } own
                && own.Count(runs.Contains) >= Math.Max(1, overlap * own.Count));
            Assert.Equal(expected, index.Find(text) is not null);
        }
    }

    [Fact]
    public void Case_white_space_and_for_runs_punctuation_do_not_matter()
    {
        var index = Index(["Check if in given list of numbers, are any two numbers closer to each other than given threshold."], words: 6);
        Assert.Equal("whole text", index.Find("x\tCHECK if in  given list\nof numbers, are any two numbers closer to each other than given threshold.!")?.Kind);
        var run = index.Find("we ask: are any two (numbers) closer; to some");
        Assert.Equal(("6 words", "are any two numbers closer to some"), (run?.Kind, run?.Excerpt));
        Assert.Null(index.Find("are any two letters closer to each other?"));
    }

    [Fact]
    public void Scripts_without_blanks_are_compared_by_characters()
    {
        var index = Index(["日本の首都はどこですか。"], words: 5, minLength: int.MaxValue);
        Assert.NotNull(index.Find("問い:日本の首都は何と言うか"));
        Assert.Null(index.Find("日本の海"));
    }

    [Fact]
    public void Short_texts_are_looked_for_as_little_as_is_said()
    {
        Assert.Null(ReferenceText.Of("a", " Yes. ", minLength: 5, words: 13));
        Assert.Equal(4, ReferenceText.Of("a", " Yes. ", minLength: 4, words: 13)!.Length);
        Assert.Null(ReferenceText.Of("a", " \n ", minLength: 0, words: 0));
    }

    private static ReferenceIndex Index(string[] texts, int words, double overlap = 0, int minLength = 8) =>
        new([new("set", [.. texts.Select((text, i) => ReferenceText.Of($"text {i}", text, minLength, words)).OfType<ReferenceText>()], words, 0)],
            words, overlap);

    private static string Words(Random random, int count) =>
        string.Join(' ', Enumerable.Range(0, count).Select(_ => s_words[random.Next(s_words.Length)]));

    private static string Disturbed(string text, Random random) =>
        string.Concat(text.Select(c => c == ' ' && random.Next(3) == 0 ? " \n" : random.Next(4) == 0 ? char.ToUpperInvariant(c).ToString() : c.ToString()));

    private static HashSet<string> Runs(string text, int words)
    {
        var all = NormalText.Words(text, []).Split(' ');
        return [.. Enumerable.Range(0, Math.Max(0, all.Length - words + 1)).Select(i => string.Join(' ', all[i..(i + words)]))];
    }
}
