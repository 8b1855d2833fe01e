
namespace Handbook.Data.Tests;

public sealed class BatchBuilderTests
{
    [Fact]
    public void A_row_predicts_each_next_token_that_carries_loss()
    {
        var batch = BatchBuilder.Build(new TokenRowList([TokenRow.Single([5, 6, 7, 8], [1, 0, 1, 1]), TokenRow.Single([9], [1])]), [0, 1]);
        Assert.Equal([5, 6, 7, 8, 9], batch.Tokens);
        Assert.Equal([0, 1, 2, 3, 0], batch.Positions);
        Assert.Equal([-1, 7, 8, -1, -1], batch.Targets);
        Assert.Equal([0f, 1f, 1f, 0f, 0f], batch.Weights);
        Assert.Equal([new Segment(0, 4, -1, 0, SegmentRole.Row), new Segment(4, 1, -1, 1, SegmentRole.Row) { Entry = 1 }], batch.Segments);
    }

    [Fact]
    public void A_pair_shares_its_prompt_and_each_answer_begins_with_the_last_prompt_token()
    {
        var pair = Tree((SegmentRole.Prompt, -1, [1, 2, 3]), (SegmentRole.Chosen, 0, [4, 5]), (SegmentRole.Rejected, 0, [6]));
        var batch = BatchBuilder.Build(new TokenRowList([pair]), [0]);
        Assert.Equal([1, 2, 3, 4, 5, 3, 6], batch.Tokens);
        Assert.Equal([0, 1, 2, 3, 4, 2, 3], batch.Positions);
        Assert.Equal([-1, -1, 4, 5, -1, 6, -1], batch.Targets);
        Assert.Equal(
            [new Segment(0, 2, -1, 0, SegmentRole.Prompt), new Segment(2, 3, 0, 0, SegmentRole.Chosen),
                new Segment(5, 2, 0, 0, SegmentRole.Rejected)],
            batch.Segments);
    }

    [Fact]
    public void A_prompt_of_one_token_moves_into_its_answers()
    {
        var pair = Tree((SegmentRole.Prompt, -1, [1]), (SegmentRole.Chosen, 0, [4]), (SegmentRole.Rejected, 0, [6]));
        var batch = BatchBuilder.Build(new TokenRowList([pair]), [0]);
        Assert.Equal([1, 4, 1, 6], batch.Tokens);
        Assert.Equal([0, 1, 0, 1], batch.Positions);
        Assert.Equal([new Segment(0, 2, -1, 0, SegmentRole.Chosen), new Segment(2, 2, -1, 0, SegmentRole.Rejected)], batch.Segments);
    }

    [Fact]
    public void A_tree_holds_the_tokens_positions_and_targets_of_its_paths()
    {
        for (var seed = 0; seed < 50; seed++)
        {
            var random = new Random(seed);
            var parts = new List<TokenSegment>();
            for (var p = 0; p < random.Next(1, 8); p++)
            {
                var ids = Enumerable.Range(0, random.Next(1, 5)).Select(_ => random.Next(1000)).ToArray();
                parts.Add(new(SegmentRole.Sample, random.Next(-1, p), ids, ids.Select(_ => (byte)random.Next(2)).ToArray()));
            }
            var batch = BatchBuilder.Build(new TokenRowList([new TokenRow { Segments = parts }]), [0]);
            var children = parts.Select(part => part.Parent).ToHashSet();

            // Every leaf's path in the batch is the concatenation of its parts.
            var paths = batch.Segments.Select((segment, i) => i).Where(i => batch.Segments.All(other => other.Parent != i))
                .Select(i => BatchPath(batch, i));
            var expected = Enumerable.Range(0, parts.Count).Where(p => !children.Contains(p)).Select(p => PartPath(parts, p));
            Assert.Equal(expected, paths);
            Assert.Equal(
                parts.Sum(part => part.Loss.ToArray().Sum(loss => loss)) - parts.Where(part => part.Parent < 0)
                    .Sum(part => part.Loss.Span[0]),
                batch.TargetCount);
        }
    }

    [Fact]
    public void No_target_crosses_a_border_and_no_token_is_lost_after_packing()
    {
        for (var seed = 0; seed < 50; seed++)
        {
            var rows = Some.Rows(seed, 60, 30);
            var packed = Packing.BestFit(rows, 64);
            var batch = BatchBuilder.Build(packed, [.. Enumerable.Range(0, packed.Count)]);
            Assert.Equal(Some.AllIds(rows).SelectMany(ids => ids), batch.Tokens.Order());       // ids grow by one
            Assert.Equal(60, batch.Segments.Length);
            foreach (var segment in batch.Segments)
            {
                Assert.Equal(-1, batch.Targets[segment.Start + segment.Length - 1]);
                for (var i = segment.Start; i < segment.Start + segment.Length - 1; i++)
                {
                    Assert.Equal(i - segment.Start, batch.Positions[i]);
                    Assert.True(batch.Targets[i] == -1 || batch.Targets[i] == batch.Tokens[i + 1]);
                }
            }
        }
    }

    private static TokenRow Tree(params (SegmentRole Role, int Parent, int[] Ids)[] parts) => new()
    {
        Segments = [.. parts.Select(part => new TokenSegment(part.Role, part.Parent, part.Ids,
            part.Ids.Select(_ => (byte)(part.Role == SegmentRole.Prompt ? 0 : 1)).ToArray()))],
    };

    private static string PartPath(List<TokenSegment> parts, int p)
    {
        var path = new List<int>();
        for (; p >= 0; p = parts[p].Parent)
            path.InsertRange(0, parts[p].Ids.ToArray());
        return string.Join(' ', path);
    }

    private static string BatchPath(TokenBatch batch, int s)
    {
        var path = new List<int>();
        for (; s >= 0; s = batch.Segments[s].Parent)
            path.InsertRange(0, batch.Tokens[batch.Segments[s].Start..(batch.Segments[s].Start + batch.Segments[s].Length)]);
        return string.Join(' ', path);
    }
}
