using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Patterns;

namespace Handbook.Text.Tests.Tokenizers;

public sealed class PatternTests
{
    [Fact]
    public void A_repetition_of_repetitions_is_one_and_what_would_not_end_is_told()
    {
        var ranges = new List<(int, int, bool)>();
        new Pattern("a" + new string('*', 300)).FindAll(CodePoints.Of("baaab"), ranges);
        Assert.Contains((1, 4, true), ranges);
        var failure = Assert.Throws<Handbook.Base.InputException>(() =>
            new Pattern("(a+)+b").FindAll(CodePoints.Of(new string('a', 60)), []));
        Assert.Contains("takes back more than 10,000,000 choices at one place", failure.Message);
    }

    [Theory]
    [InlineData(@"a+?b", "aab", "aab")]
    [InlineData(@"a*+a", "aaa", "")]                                // possessive gives nothing back
    [InlineData(@"(?>a|ab)c", "abc ac", "ac")]
    [InlineData(@"(?<=a|bc)x", "ax bcx cx", "x x")]
    [InlineData(@"(?<!a)x", "ax bx", "x")]
    [InlineData(@"\d{1,3}(?=(?:\d{3})*\b)", "1234567", "1 234 567")]
    [InlineData(@"[\p{L}&&[^a-z]]+", "aBÉc", "BÉ")]
    [InlineData(@"(?i:straße)", "STRAßE", "STRAßE")]
    [InlineData(@"(?i)k", "k K", "k K")]                       // the Kelvin sign folds to k
    [InlineData(@"(?i:[^a])", "aAb", "b")]                          // the rest of what is listed with its other cases
    [InlineData(@"(?i:\p{Lu})", "aB", "B")]                         // a property has none
    [InlineData(@"(?i:[\p{Lu}])", "aB", "a B")]                     // but in brackets
    [InlineData(@"(\w)\1", "abba", "bb")]
    [InlineData(@"(?<two>ab)\k<two>", "ababa", "abab")]
    [InlineData(@"\h+", "xbeefg", "beef")]                          // Ruby: hexadecimal digits
    [InlineData(@"\p{^L}+", "ab12", "12")]
    [InlineData(@"\x{1D509}|\u00e9", "é𝔉", "é 𝔉")]
    [InlineData(@"^b", "a\nb", "b")]                                // Ruby: lines, not the text
    [InlineData(@"a(?i)B|c", "ab aC", "ab aC")]                     // Ruby: a(?i:B|c)
    [InlineData(@"x{2}", "xxxxx", "xx xx")]
    [InlineData(@"x{,2}y", "xxxy", "xxy")]
    [InlineData(@"{x}", "{x}", "{x}")]                              // no repetition: ordinary text
    [InlineData(@"[]a]+", "]a", "]a")]
    [InlineData(@"[a\-z]+", "a-z", "a-z")]
    [InlineData(@"[[:upper:]][[:^upper:]]", "aBc", "Bc")]
    [InlineData(@"\R", "a\r\nb", "\r\n")]
    [InlineData(@"foo\Kbar", "foobar", "bar")]
    [InlineData(@"(?:a|b)*?c", "abac", "abac")]
    [InlineData(@"(?:a?)*b", "aab", "aab")]
    [InlineData(@"(?x) a b # comment", "ab", "ab")]
    [InlineData(@"\bA\b|\B!", "A !", "A !")]
    public void A_pattern_finds_what_its_syntax_says(string pattern, string text, string expected)
    {
        var points = CodePoints.Of(text);
        var ranges = new List<(int Start, int End, bool Match)>();
        new Pattern(pattern).FindAll(points, ranges);
        Assert.Equal(expected,
            string.Join(' ',
            ranges.Where(range => range.Match).Select(range => CodePoints.ToText(points.AsSpan(range.Start, range.End - range.Start)))));
    }

    [Theory]
    [InlineData("(a", 0, "this group is never closed")]
    [InlineData("a)", 1, "')' without '('")]
    [InlineData("[a", 0, "this class is never closed")]
    [InlineData("*a", 0, "nothing to repeat before it")]
    [InlineData(@"\p{Foo}", 0, "no property of characters is called Foo")]
    [InlineData("[z-a]", 2, "a range in a class ends before it begins")]
    [InlineData("a{3,2}", 1, "the repetition {3,2} has its bounds in the wrong order")]
    [InlineData(@"a\", 2, @"the pattern ends after '\'")]
    [InlineData("(?<=a*)b", 0, "a look behind without a bound on its length is not supported")]
    public void A_mistake_is_reported_with_its_position(string pattern, int position, string reason)
    {
        var mistake = Assert.Throws<PatternException>(() => new Pattern(pattern));
        Assert.Equal((position, reason), (mistake.Position, mistake.Message));
    }

    [Theory]
    [InlineData(SplitScanner.Gpt2Pattern)]
    [InlineData(SplitScanner.Llama3Pattern)]
    [InlineData(SplitScanner.Qwen2Pattern)]
    public void The_scanner_written_by_hand_cuts_as_the_general_engine_does(string pattern)
    {
        var (scanner, engine) = (SplitScanner.For(pattern)!, new Pattern(pattern));
        for (var seed = 0; seed < 2000; seed++)
        {
            var points = CodePoints.Of(Some.Text(seed, 1 + seed % 40));
            List<(int, int, bool)> ours = [], expected = [];
            scanner.FindAll(points, ours);
            engine.FindAll(points, expected);
            Assert.Equal(expected, ours);
        }
    }
}
