using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Normalizers;
using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>Facts of Unicode that ids rest on; without an oracle.</summary>
public sealed class UnicodeVersionTests
{
    [Theory]
    [InlineData("\u0385", "\u0020\u0308\u0301")]     // ΅ is ¨ and ´, and ¨ is a space and a mark: nothing that composes again
    [InlineData("\u1E9B", "\u1E61")]                 // ſ with a dot is s with a dot
    [InlineData("\u212B", "\u00C5")]
    [InlineData("\uFB03", "ffi")]
    [InlineData("\u1100\u1161\u11A8", "\uAC01")]
    [InlineData("a\u0327\u0301", "\u00E1\u0327")]
    [InlineData("\u32FF", "\u32FF")]                 // 12.1, younger than the reference's normalizer
    public void The_compatibility_form_is_that_of_the_reference(string text, string normal) =>
        Assert.Equal(normal, UnicodeNormalizer.Nfkc.Apply(text));

    [Fact]
    public void Parts_of_an_older_version_do_not_know_younger_code_points()
    {
        const int indicSiyaqDigit = 0x1EC71, garayCapital = 0x10D50, ottoman = 0x08D4;
        Assert.Equal((110, 160, 90), (UnicodeTables.Age(indicSiyaqDigit), UnicodeTables.Age(garayCapital), UnicodeTables.Age(ottoman)));
        Assert.True(Properties.IsNumber(indicSiyaqDigit));
        Assert.True(Properties.IsLetter(garayCapital));
        Assert.True(Properties.IsMark(ottoman));
        Assert.False(Properties.IsAccent(ottoman));
        Assert.Equal(System.Globalization.UnicodeCategory.OtherNotAssigned, UnicodeTables.Category(garayCapital, 150));
        Assert.Equal(byte.MaxValue, UnicodeTables.Age(0x50000));
    }

    [Theory]
    [InlineData("a", 1)]
    [InlineData("\r\n", 2)]
    [InlineData("\n\r", 1)]
    [InlineData("e\u0301\u0323x", 3)]
    [InlineData("\u1100\u1161\u11A8\u1100", 3)]
    [InlineData("\U0001F469\u200D\U0001F469x", 3)]
    [InlineData("a\u200D\U0001F469", 2)]
    [InlineData("\U0001F1E9\U0001F1EA\U0001F1E9", 2)]
    [InlineData("\u0915\u094D\u0937x", 3)]           // क्ष: GB9c
    [InlineData("\u0915\u0937", 1)]
    [InlineData("\u0600a", 2)]
    [InlineData("\u0000\u0301", 1)]
    [InlineData("\U000E02B7\u0356", 1)]              // set aside for invisible characters, not assigned
    [InlineData("\u2065\u0301", 1)]
    public void A_grapheme_cluster_ends_where_the_annex_says(string text, int points) =>
        Assert.Equal(points, GraphemeClusters.Next(CodePoints.Of(text), 0));
}
