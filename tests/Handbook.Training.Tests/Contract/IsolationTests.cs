using Handbook.Data;
using Handbook.Data.Tokenizing;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;

namespace Handbook.Training.Tests.Contract;

/// <summary>Rows that share a batch do not see one another, neither forward nor backward.</summary>
[Collection("tensors")]
public sealed class IsolationTests
{
    [Theory]
    [InlineData("llama"), InlineData("mistral"), InlineData("gpt2")]
    public void Number_3_changing_one_packed_row_leaves_the_others_as_they_are(string kind)
    {
        using var model = Tiny.Model(kind);
        var rows = Tiny.Rows(11, 5, masked: false);
        var changed = new TokenRowList([.. Enumerable.Range(0, rows.Count).Select(r => r == 2 ? Shifted(rows.Read(r)) : rows.Read(r))]);
        var (before, after) = (Look(model, Packing.BestFit(rows, 100)), Look(model, Packing.BestFit(changed, 100)));
        var differs = false;
        foreach (var segment in before.Batch.Segments)
        {
            var tokens = segment.Start..(segment.Start + segment.Length);
            if (!before.Batch.Tokens[tokens].SequenceEqual(after.Batch.Tokens[tokens]))
            {
                differs = true;
                Assert.NotEqual(before.Logits[tokens], after.Logits[tokens]);
                continue;
            }
            Assert.Equal(before.Logits[tokens], after.Logits[tokens]);          // bit for bit: no term of another row is added
            Assert.Equal(before.Gradients[tokens], after.Gradients[tokens]);
        }
        Assert.True(differs);
    }

    [Theory]
    [InlineData("llama"), InlineData("mistral"), InlineData("gpt2")]
    public void Number_3_answers_to_one_prompt_do_not_see_one_another(string kind)
    {
        using var model = Tiny.Model(kind);
        TokenRow[] rows = [Tree([4, 5, 6], [7, 8], [9, 10, 11]), Tree([12], [13, 14, 15, 16, 1], [17])];
        TokenRow[] changed = [Tree([4, 5, 6], [7, 8], [1, 2, 3]), Tree([12], [13, 14, 15, 16, 1], [3])];        // the second answer of each
        var (before, after) = (Logits(model, rows), Logits(model, changed));
        for (var s = 0; s < before.Count; s++)
            if (before[s].Tokens.SequenceEqual(after[s].Tokens))
                Assert.Equal(before[s].Logits, after[s].Logits);         // bit for bit
            else
                Assert.NotEqual(before[s].Logits, after[s].Logits);
        Assert.Equal(2, before.Zip(after).Count(pair => !pair.First.Tokens.SequenceEqual(pair.Second.Tokens)));

        static TokenRow Tree(int[] prompt, int[] chosen, int[] rejected) =>
            AnswerTree.Build([new(SegmentRole.Chosen, prompt, chosen), new(SegmentRole.Rejected, prompt, rejected)]);
    }

    [Theory]
    [InlineData("llama"), InlineData("gpt2")]
    public void A_row_without_loss_adds_nothing_to_the_gradients_of_the_weights(string kind)
    {
        using var model = Tiny.Model(kind);
        var rows = Tiny.Rows(12, 4);
        var silent = rows.Read(1);
        TokenRowList With(TokenRow second) => new([rows.Read(0), second, rows.Read(2), rows.Read(3)]);
        var method = new SupervisedMethod("sft");
        var one = Tiny.Step(model, method, Tiny.Whole(With(Without(silent)), method, 4096));
        var other = Tiny.Step(model, method, Tiny.Whole(With(Without(Shifted(silent))), method, 4096));
        other.MustEqual(one, 1e-14, "another silent row");
        Tiny.Step(model, method, Tiny.Whole(new TokenRowList([rows.Read(0), rows.Read(2), rows.Read(3)]), method, 4096))
            .MustEqual(one, 1e-12, "no silent row");
    }

    [Fact]
    public void The_last_token_of_every_document_predicts_nothing()
    {
        using var model = Tiny.Model("llama");
        var look = Look(model, Packing.BestFit(Tiny.Rows(13, 6, masked: false), 40));
        foreach (var segment in look.Batch.Segments)
        {
            var last = segment.Start + segment.Length - 1;
            Assert.Equal(-1, look.Batch.Targets[last]);
            Assert.All(look.Gradients[last], g => Assert.Equal(0, g));      // nothing reads the token, so nothing comes back to it
            for (var i = segment.Start; i < last; i++)
                Assert.Equal(look.Batch.Tokens[i + 1], look.Batch.Targets[i]);
        }
        Assert.Contains(look.Gradients, g => g.Any(x => x != 0));
    }

    /// <summary>Tokens and logits of each segment.</summary>
    private static List<(int[] Tokens, double[] Logits)> Logits(Decoder model, TokenRow[] rows)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var batch = BatchBuilder.Build(new TokenRowList(rows), [.. Enumerable.Range(0, rows.Length)]);
        var logits = model.Logits(batch.Stream()).ToArray<double>().Chunk(Tiny.Vocabulary).ToArray();
        return [.. batch.Segments.Select(segment => (batch.Tokens[segment.Start..(segment.Start + segment.Length)],
            logits[segment.Start..(segment.Start + segment.Length)].SelectMany(row => row).ToArray()))];
    }

    /// <summary>Logits and the gradient that reaches each token's embedding; both [N, …].</summary>
    private static (TokenBatch Batch, double[][] Logits, double[][] Gradients) Look(Decoder model, ITokenRows packed)
    {
        using var scope = TensorScope.Enter();
        var batch = BatchBuilder.Build(packed, [.. Enumerable.Range(0, packed.Count)]);
        var stream = batch.Stream();
        var width = model.Config.HiddenSize;
        var nudge = Tensor.Zeros(DType.Float64, batch.Count, width);
        nudge.RequiresGrad = true;
        model.Parameters.ClearGradients();
        var loss = new SupervisedMethod("sft").Loss(model, new(batch, stream), new ForwardOptions { EmbeddingNoise = (x, _) => x + nudge },
            10, new MetricSums())!;
        loss.Backward();
        return (batch, [.. model.Logits(stream).ToArray<double>().Chunk(Tiny.Vocabulary)], [.. nudge.Grad!.ToArray<double>().Chunk(width)]);
    }

    private static TokenRow Shifted(TokenRow row) =>
        TokenRow.Single([.. row.Segments[0].Ids.ToArray().Select(i => (i + 7) % Tiny.Vocabulary)], row.Segments[0].Loss.ToArray());

    private static TokenRow Without(TokenRow row) => TokenRow.Single(row.Segments[0].Ids.ToArray(), new byte[row.Segments[0].Ids.Length]);
}
