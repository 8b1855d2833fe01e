using Handbook.Base;
using Handbook.Data.RandomNumbers;

namespace Handbook.Data.Tests;

public sealed class PackingTests
{
    [Fact] // values of the reference's own tests
    public void Best_fit_gives_the_reference_rows_and_positions()
    {
        var packed = Packing.BestFit(Some.RowsOf([1, 2, 3], [4, 5, 6, 7], [8]), 4);
        Assert.Equal([[4, 5, 6, 7], [1, 2, 3, 8]], Some.AllIds(packed));
        Assert.Equal([0, 1, 2, 3, 0, 1, 2, 0], BatchBuilder.Build(packed, [0, 1]).Positions);
    }

    [Fact]
    public void Best_fit_cuts_rows_that_are_longer_than_the_block()
    {
        var packed = Packing.BestFit(Some.RowsOf([1, 2, 3, 4, 5], [6, 7], [8, 9, 10, 11], [12]), 4);
        Assert.Equal([[1, 2, 3, 4], [8, 9, 10, 11], [6, 7, 12]], Some.AllIds(packed));
        Assert.Equal([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 0], BatchBuilder.Build(packed, [0, 1, 2]).Positions);
    }

    [Fact]
    public void Best_fit_follows_the_algorithm_where_the_reference_documentation_is_wrong() =>
        Assert.Equal([[1, 2, 3, 9], [6, 7, 8], [4, 5]], Some.AllIds(Packing.BestFit(Some.RowsOf([1, 2, 3], [4, 5], [6, 7, 8], [9]), 4)));

    [Fact]
    public void Wrapped_gives_the_reference_rows()
    {
        var packed = Packing.Wrapped(Some.RowsOf([1, 2, 3], [4, 5, 6, 7], [8]), 3);
        Assert.Equal([[1, 2, 3], [4, 5, 6], [7, 8]], Some.AllIds(packed));
        Assert.All(Enumerable.Range(0, 3), i => Assert.Single(packed.Read(i).Segments));
    }

    [Fact]
    public void Among_bins_with_equal_room_the_oldest_is_filled() =>
        // 3 and 3 leave 1 free each; the first 1 goes to the older bin, the second to the other.
        Assert.Equal([[0, 2], [1, 3]], Packing.Bins([3, 3, 1, 1], 4));

    [Fact]
    public void An_item_larger_than_the_capacity_has_a_bin_for_itself() =>
        Assert.Equal([[1], [0, 2]], Packing.Bins([2, 9, 1], 4));

    [Fact]
    public void Groups_of_a_thousand_rows_are_packed_apart()
    {
        var rows = new TokenRowList([.. Enumerable.Range(0, 1001).Select(i => TokenRow.Single([i], [1]))]);
        var packed = Packing.BestFit(rows, 2000);
        Assert.Equal([1000, 1], Enumerable.Range(0, packed.Count).Select(packed.Length));
        var wrapped = Packing.Wrapped(rows, 600);
        Assert.Equal([600, 400, 1], Enumerable.Range(0, wrapped.Count).Select(wrapped.Length));
    }

    [Fact]
    public void Best_fit_keeps_every_token_with_its_loss_and_no_row_exceeds_the_block()
    {
        for (var seed = 0; seed < 50; seed++)
        {
            var rows = Some.Rows(seed, count: 1 + (seed * 53), longest: 40);
            var packed = Packing.BestFit(rows, 40);
            Assert.Equal(Pairs(rows), Pairs(packed));
            for (var i = 0; i < packed.Count; i++)
            {
                Assert.InRange(packed.Length(i), 1, 40);
                Assert.Equal(packed.Length(i), packed.Read(i).TokenCount);
            }
        }
    }

    [Fact]
    public void Wrapped_keeps_every_token_in_its_order()
    {
        for (var seed = 0; seed < 50; seed++)
        {
            var rows = Some.Rows(seed, count: 1 + (seed * 53), longest: 40);
            var packed = Packing.Wrapped(rows, 33);
            Assert.Equal(Some.AllIds(rows).SelectMany(ids => ids), Some.AllIds(packed).SelectMany(ids => ids));
            Assert.Equal(Pairs(rows), Pairs(packed));
        }
    }

    [Fact]
    public void Constant_length_drops_the_tail_of_each_buffer_and_shuffles_its_blocks()
    {
        // Buffers end once they hold 2·3.6·1024 = 7372.8 characters: after two rows of 3700 and 4000.
        var rows = new TokenRowList([Row(1, 5, 3700), Row(6, 4, 4000), Row(10, 3, 9000), Row(13, 2, 10)]);
        var packed = Packing.ConstantLength(rows, 2, seed: 0);
        int[][] first = [[1, 2], [3, 4], [5, 6], [7, 8]];           // 9 is the tail
        var shuffled = first.ToArray();
        var random = new PythonRandom(0);
        random.Shuffle<int[]>(shuffled);
        Assert.Equal([.. shuffled, [10, 11], [13, 14]], Some.AllIds(packed));

        static TokenRow Row(int from, int count, int characters) =>
            TokenRow.Single([.. Enumerable.Range(from, count)], [.. Enumerable.Repeat((byte)1, count)], characters);
    }

    [Fact]
    public void Constant_length_without_one_full_block_is_refused()
    {
        var error = Assert.Throws<InputException>(() => Packing.ConstantLength(Some.RowsOf([1, 2, 3]), 4, 0));
        Assert.Equal("all rows together have 3 tokens, not enough for one packed row of 4", error.What);
    }

    [Fact]
    public void Packing_without_a_length_is_refused() =>
        Assert.Equal("max_length is 0, but packing needs a length of at least 1",
            Assert.Throws<InputException>(() => Packing.BestFit(Some.RowsOf([1]), 0)).What);

    private static (int, byte)[] Pairs(ITokenRows rows) =>
        [.. Enumerable.Range(0, rows.Count).SelectMany(i => rows.Read(i).Segments)
            .SelectMany(segment => segment.Ids.ToArray().Zip(segment.Loss.ToArray())).Order()];
}
