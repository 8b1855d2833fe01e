namespace Handbook.Models.Tests;

public sealed class AlibiTests
{
    [Fact]
    public void Slopes_are_powers_of_two_to_minus_eight_over_the_heads()
    {
        Assert.Equal([0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625], Alibi.Slopes(8));
        Assert.Equal([1.0 / 256], Alibi.Slopes(1));
    }

    [Fact]
    public void Heads_beyond_a_power_of_two_take_every_other_slope_of_the_next()
    {
        double[] four = [0.25, 0.0625, 0.015625, 0.00390625], eight = [.. Alibi.Slopes(8)];
        Assert.Equal([.. four, eight[0], eight[2]], Alibi.Slopes(6));
        Assert.Equal([.. four, eight[0], eight[2], eight[4]], Alibi.Slopes(7));
    }
}
