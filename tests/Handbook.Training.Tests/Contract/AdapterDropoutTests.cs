using Handbook.Data;

namespace Handbook.Training.Tests.Contract;

/// <summary>Which tokens share the random numbers of adapters' dropout.</summary>
public sealed class AdapterDropoutTests
{
    [Fact]
    public void Documents_of_a_packed_row_have_numbers_of_their_own()
    {
        var keys = Keys(Packing.BestFit(Tiny.Rows(13, 6, masked: false), 100), step: 3);

        Assert.Equal(keys.Length, keys.Distinct().Count());
    }

    [Fact]
    public void Every_step_has_other_numbers()
    {
        var rows = Tiny.Rows(13, 6);

        Assert.Empty(Keys(rows, 3).Intersect(Keys(rows, 4)));
    }

    private static long[] Keys(ITokenRows rows, int step) =>
        new AdapterDropout(17).For(BatchBuilder.Build(rows, [.. Enumerable.Range(0, rows.Count)]), step).For(5).Host;
}
