using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Tokenizers;

public sealed class DecimalScoreTests
{
    [Theory]
    [InlineData("0", 0)]
    [InlineData("-3", -3)]
    [InlineData("-12.5", -12.5)]
    [InlineData("1e3", 1000)]
    [InlineData("1.5E+2", 150)]
    [InlineData("25e-1", 2.5)]
    [InlineData("1e-400", 0)]
    [InlineData("-5e-324", -5e-324)]
    [InlineData("0.00000000000000000000000000001", 1 / 1e29)]
    public void A_score_is_read(string text, double value) => Assert.Equal(value, Parse(text));

    [Fact] // by hand: 12711506054058489 is odd and above 2^53: rounded to …488 before it is divided by 10^15
    public void A_score_is_rounded_as_the_reference_rounds_it()
    {
        Assert.Equal(-12.711506054058487, Parse("-12.711506054058489"));
        Assert.Equal(-12.71150605405849, double.Parse("-12.711506054058489"));
    }

    [Fact] // by hand: 2^64 = 18446744073709551616 does not fit, so its last digit is left out
    public void Digits_beyond_64_bits_are_left_out()
    {
        Assert.Equal(1844674407370955161 * 1e-18, Parse("1.8446744073709551619"), 1e-15);
        Assert.Equal(1844674407370955161d * 10, Parse("18446744073709551616"));
        Assert.Equal(1844674407370955161d * 100, Parse("184467440737095516169.5"));
    }

    private static double Parse(string text) => DecimalScore.Parse(System.Text.Encoding.UTF8.GetBytes(text));
}
