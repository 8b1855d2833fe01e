using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Rewards;

namespace Handbook.Training.Methods.Rewards;

/// <summary>Reward modelling: the chosen answer of a pair is to score higher than the rejected one. The loss is
/// <see cref="RewardObjective"/>'s.</summary>
/// <param name="centring">Weight of the squared sum of a pair's rewards; null adds nothing.</param>
/// <param name="groupsByMicroBatch">Whether the loss is the mean of the micro-batches' means, as the reference trainer has it, and not the
/// mean over the step.</param>
internal sealed class RewardMethod(double? centring = null, bool groupsByMicroBatch = false) : ITrainingMethod
{
    public string Name => "reward";

    public bool GroupsByMicroBatch => groupsByMicroBatch;

    public GroupTotals Totals(IReadOnlyList<TokenRow> rows) => new() { Rows = rows.Count };

    public void Run(Decoder model, LossGroup group, LossPass pass)
    {
        var all = new Pairs(group.Rows.Count);
        foreach (var bin in pass.Bins(group))
        {
            using var scope = TensorScope.Enter();
            var places = ScorePlace.Of(bin.Batch);
            var scores = model.Scores(bin.Stream, Array.ConvertAll(places, place => place.Place), pass.OptionsFor(bin.Batch));
            var pairs = Pairs.Of(places, scores.ToArray<double>(), group);
            all.Add(pairs);
            var (chosen, rejected) = (new double[pairs.Count], new double[pairs.Count]);
            var loss = group.Share * RewardObjective.Evaluate(pairs.Chosen, pairs.Rejected, pairs.Margins, centring, group.Totals.Rows,
                chosen, rejected, metrics: null);
            pass.Add(KnownGradient.Of(scores, loss, pairs.Scatter(chosen, rejected, group.Share, places.Length)), loss);
        }
        // Once for the whole group: the least and the greatest reward are not sums of those of bins. In an order that is theirs alone.
        var everyone = pass.Workers.GatherGroups([.. all.Chosen.Zip(all.Rejected, all.Margins).SelectMany(pair =>
            (double[])[pair.First, pair.Second, pair.Third])]).SelectMany(part => part.Chunk(3))
            .OrderBy(pair => pair[0]).ThenBy(pair => pair[1]).ThenBy(pair => pair[2]).ToArray();
        if (pass.Workers.IsFirst)
            RewardObjective.Evaluate(Column(0), Column(1), Column(2), centring, group.Totals.Rows, [], [], pass.Metrics);

        double[] Column(int third) => Array.ConvertAll(everyone, pair => pair[third]);
    }

    /// <summary>The rewards of pairs, and where in the scores of a batch they stand.</summary>
    private sealed class Pairs(int capacity)
    {
        private readonly List<double> _chosen = new(capacity);
        private readonly List<double> _rejected = new(capacity);
        private readonly List<double> _margins = new(capacity);
        private readonly List<(int Chosen, int Rejected)> _places = new(capacity);

        public int Count => _chosen.Count;

        public double[] Chosen => [.. _chosen];

        public double[] Rejected => [.. _rejected];

        public double[] Margins => [.. _margins];

        public static Pairs Of(ScorePlace[] places, ReadOnlySpan<double> scores, LossGroup group)
        {
            var pairs = new Pairs(places.Length / 2);
            for (int start = 0, next; start < places.Length; start = next)
            {
                var (chosen, rejected) = (-1, -1);
                for (next = start; next < places.Length && places[next].Entry == places[start].Entry; next++)
                    _ = places[next].Role switch { SegmentRole.Chosen => chosen = next, SegmentRole.Rejected => rejected = next, _ => -1 };
                if (chosen < 0 || rejected < 0)
                    throw new InvalidOperationException($"row {places[start].Row} is no pair of a chosen and a rejected answer");
                var row = group[places[start].Row];
                pairs._chosen.Add(scores[chosen]);
                // The same text has the same reward, whatever the last bit of two products says.
                pairs._rejected.Add(scores[ReferenceReading.HasEqualAnswers(row) ? chosen : rejected]);
                pairs._margins.Add(row.Margin);
                pairs._places.Add((chosen, rejected));
            }
            return pairs;
        }

        public void Add(Pairs others)
        {
            _chosen.AddRange(others._chosen);
            _rejected.AddRange(others._rejected);
            _margins.AddRange(others._margins);
        }

        /// <summary>The derivatives by all scores of the batch.</summary>
        public double[] Scatter(double[] chosen, double[] rejected, double share, int count)
        {
            var all = new double[count];
            for (var p = 0; p < _places.Count; p++)
                (all[_places[p].Chosen], all[_places[p].Rejected]) = (share * chosen[p], share * rejected[p]);
            return all;
        }
    }
}
