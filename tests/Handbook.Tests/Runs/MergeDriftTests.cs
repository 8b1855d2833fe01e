using Handbook.Runs;

namespace Handbook.Tests.Runs;

public sealed class MergeDriftTests
{
    [Fact]
    public void Differences_count_whatever_their_sign() =>
        Assert.Equal(new MergeDrift(2, 1, 4), MergeDrift.Between([-1, -2, -3, 0], [-1, -3, -1, 1]));

    [Theory]
    [InlineData(double.NaN, -1)]
    [InlineData(-1, double.NaN)]
    [InlineData(double.NegativeInfinity, double.NegativeInfinity)]
    public void What_is_no_number_is_the_largest_difference(double before, double after) =>
        Assert.Equal(double.PositiveInfinity, MergeDrift.Between([-1, before], [-1, after]).Largest);
}
