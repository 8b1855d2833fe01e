using Handbook.Base;
using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Training.Methods;

/// <summary>What a network says about the next token at some places of a bin: the one way from hidden rows to log-probabilities.</summary>
/// <remarks>Only the rows that have a target go through the head; nothing is as wide as the vocabulary for longer than a tile.</remarks>
internal static class TokenLogProbs
{
    /// <summary>Bytes of the logits that are computed at once.</summary>
    /// <param name="targets">How many targets there are.</param>
    /// <param name="vocabulary">V.</param>
    /// <param name="size">Bytes of a logit.</param>
    public static long ChunkBytes(long targets, long vocabulary, int size) => LinearLogProb.ChunkRows(targets, vocabulary, size) * vocabulary * size;

    /// <summary>Bytes of the logits that wait for a loss that needs log-probabilities first.</summary>
    /// <inheritdoc cref="ChunkBytes"/>
    public static long WaitingBytes(long targets, long vocabulary, int size) =>
        targets * vocabulary * size is var all && all <= LinearLogProb.KeptBytes ? all : ChunkBytes(targets, vocabulary, size);

    /// <summary>log p of each target; its derivative is the caller's to give where it learns.</summary>
    /// <param name="places">Rows of the stream, one for each target; a row may come twice.</param>
    /// <param name="targets">The token that follows each.</param>
    /// <param name="statistics">Gets the numbers themselves, in float64, with what else is asked of it.</param>
    /// <param name="options">Of the pass; null for a plain one.</param>
    /// <param name="temperature">What logits are divided by.</param>
    /// <returns>[T], a number for each target.</returns>
    public static Tensor Of(Decoder model, Bin bin, int[] places, int[] targets, HeadStatistics statistics, ForwardOptions? options = null,
        double temperature = 1)
    {
        using var scope = TensorScope.Enter();
        if (bin.Stream.Cut is not { } cut)
            return scope.Keep(LinearLogProb.LogProbs(Rows(model, bin, places, options), model.Head, targets, Head(model, temperature),
                statistics, options?.AdapterNoise?.Select(places)));
        var (rows, which) = cut.Own(places);
        var own = new HeadStatistics(which.Length, statistics.LogSquares is not null);
        var logProbs = LinearLogProb.LogProbs(Rows(model, bin, rows, options), model.Head, Some(targets, which), Head(model, temperature),
            own, options?.AdapterNoise?.Select(Some(places, which)));
        cut.Gather(own, which, statistics);
        return scope.Keep(cut.Gather(logProbs, which, places.Length));
    }

    /// <summary>Σ weight · (−log p) over the targets; its derivative follows.</summary>
    /// <param name="weights">One for each target.</param>
    /// <param name="labelSmoothing">Share of the loss that all tokens have alike.</param>
    /// <inheritdoc cref="Of"/>
    public static Tensor WeightedLoss(
        Decoder model, Bin bin, int[] places, int[] targets, double[] weights, HeadStatistics? statistics = null,
            ForwardOptions? options = null, double labelSmoothing = 0)
    {
        using var scope = TensorScope.Enter();
        var head = model.HeadOptions with { LabelSmoothing = labelSmoothing };
        if (bin.Stream.Cut is not { } cut)
            return scope.Keep(LinearLogProb.WeightedLoss(Rows(model, bin, places, options), model.Head, targets, weights, head, statistics,
                options?.AdapterNoise?.Select(places)));
        var (rows, which) = cut.Own(places);
        var own = new HeadStatistics(which.Length);
        var loss = LinearLogProb.WeightedLoss(Rows(model, bin, rows, options), model.Head, Some(targets, which), Some(weights, which), head,
            own, options?.AdapterNoise?.Select(Some(places, which)));
        if (statistics is not null)
            cut.Gather(own, which, statistics);
        return scope.Keep(cut.Sum(loss));
    }

    private static T[] Some<T>(T[] all, int[] which) => Array.ConvertAll(which, i => all[i]);

    /// <summary>The hidden states at some rows of this process's tokens.</summary>
    private static Tensor Rows(Decoder model, Bin bin, int[] rows, ForwardOptions? options)
    {
        using var scope = TensorScope.Enter();
        var hidden = model.Hidden(bin.Stream, options);
        return scope.Keep(IsEveryRow(rows, bin.Stream.Count) ? hidden : RowSelect.Forward(hidden, rows));
    }

    private static bool IsEveryRow(int[] places, int rows)
    {
        if (places.Length != rows)
            return false;
        for (var i = 0; i < rows; i++)
            if (places[i] != i)
                return false;
        return true;
    }

    private static HeadOptions Head(Decoder model, double temperature) => temperature == 1 ? model.HeadOptions
        : model.HeadOptions.SoftCap == 0 ? model.HeadOptions with { Scale = model.HeadOptions.Scale / temperature }
        : throw new InputException($"temperature is {temperature}, but this model caps its logits before a temperature would divide them",
            fix: "use temperature: 1.0");
}
