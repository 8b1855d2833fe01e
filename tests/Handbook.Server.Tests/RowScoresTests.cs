using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Server.Dashboard;
using Handbook.Torch;

namespace Handbook.Server.Tests;

/// <summary>Log-probabilities of the tokens of rows are those of the definition.</summary>
[Collection("tensors")]
public sealed class RowScoresTests(ServedFixture served) : IClassFixture<ServedFixture>
{
    private static readonly int[] s_prompt = [5, 9, 13, 2], s_good = [7, 3, 8], s_bad = [11];

    [Fact]
    public void Of_a_prompt_with_answers_and_of_rows_that_were_packed()
    {
        using var model = LanguageModel.Open(Path.Combine(served.Folder, "base"));
        var tree = new TokenRow
        {
            Segments =
            [
                new(SegmentRole.Prompt, -1, s_prompt, new byte[4]), new(SegmentRole.Chosen, 0, s_good, new byte[] { 1, 1, 1 }),
                new(SegmentRole.Rejected, 0, s_bad, new byte[] { 1 }),
            ],
        };
        var scores = RowScores.Of(model.Network, tree);
        Same(Plain(model, s_prompt), scores[0]);
        Same(Plain(model, [.. s_prompt, .. s_good])[4..], scores[1]);
        Same(Plain(model, [.. s_prompt, .. s_bad])[4..], scores[2]);

        var packed = new TokenRow { Segments = [new(SegmentRole.Row, -1, s_good, new byte[3]), new(SegmentRole.Row, -1, s_bad, new byte[1])] };
        scores = RowScores.Of(model.Network, packed);
        Same(Plain(model, s_good), scores[0]);
        Same([double.NaN], scores[1]);
    }

    private static void Same(double[] expected, double[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
    }

    // log softmax of the logits of the token before.
    private static double[] Plain(LanguageModel model, int[] ids)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var logits = model.Network.Logits(StreamLayout.Of([ids]));
        var (all, width) = (logits.ToArray<double>(), (int)logits.Size(1));
        return [double.NaN, .. Enumerable.Range(1, ids.Length - 1).Select(i =>
        {
            var row = all[((i - 1) * width)..(i * width)];
            return row[ids[i]] - row.Max() - Math.Log(row.Sum(x => Math.Exp(x - row.Max())));
        })];
    }
}
