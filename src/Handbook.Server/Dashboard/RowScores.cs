using Handbook.Base;
using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Training.Methods;

namespace Handbook.Server.Dashboard;

/// <summary>How likely a model finds each token of a row, given those before it.</summary>
internal static class RowScores
{
    /// <summary>log p of every token, by segment; NaN for the first of a root, which nothing predicts.</summary>
    /// <param name="network">The model.</param>
    /// <param name="row">A row, a prompt with its answers, or several rows that were packed together.</param>
    /// <exception cref="InputException">The numbers are none.</exception>
    public static double[][] Of(Decoder network, TokenRow row)
    {
        using var exact = RowExact.Enabled();
        using var mode = GradMode.Disabled();
        return [.. row.Segments.Select((segment, s) => One(network, row, s))];
    }

    private static double[] One(Decoder network, TokenRow row, int s)
    {
        using var scope = TensorScope.Enter();
        int[] before = [.. Before(row, row.Segments[s].Parent)], own = [.. row.Segments[s].Ids.Span];
        int[] ids = [.. before, .. own];
        var found = new double[own.Length];
        Array.Fill(found, double.NaN);
        if (ids.Length < 2)
            return found;
        var all = new byte[ids.Length];
        all.AsSpan().Fill(1);
        var batch = BatchBuilder.Build(new TokenRowList([TokenRow.Single(ids, all)]), [0]);
        int[] places = [.. Enumerable.Range(0, batch.Count).Where(i => batch.Targets[i] >= 0)];
        var statistics = new HeadStatistics(places.Length);
        _ = TokenLogProbs.Of(network, new Bin(batch, batch.Stream()), places, Array.ConvertAll(places, i => batch.Targets[i]), statistics);
        for (var i = 0; i < places.Length; i++)
            if (places[i] + 1 >= before.Length)
                found[places[i] + 1 - before.Length] = double.IsNaN(statistics.LogProb[i])
                    ? throw new InputException("the log-probabilities are no numbers", "the weights, or what they compute, are no longer finite")
                    : statistics.LogProb[i];
        return found;
    }

    private static IEnumerable<int> Before(TokenRow row, int segment) => segment < 0 ? []
        : Before(row, row.Segments[segment].Parent).Concat(row.Segments[segment].Ids.ToArray());
}
