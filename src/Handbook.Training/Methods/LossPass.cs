using Handbook.Base;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Sharding;
using Handbook.Torch;
using Handbook.Training.Distributed;

namespace Handbook.Training.Methods;

/// <summary>One pass over a group of rows: how to run the network, and where losses and metrics go.</summary>
internal sealed class LossPass
{
    /// <summary>Whether gradients are wanted and running state may change.</summary>
    public bool Training { get; init; }

    /// <summary>Whether no update has changed the model since the run began: a reference that the run began from then gives the same values as
    /// the model itself.</summary>
    public bool IsUntrained { get; init; }

    /// <summary>Receives sums and counts.</summary>
    public required MetricSums Metrics { get; init; }

    /// <summary>How to run the network over a batch; null runs it plainly.</summary>
    public Func<TokenBatch, ForwardOptions>? Options { get; init; }

    /// <summary>Who computes the group together; each has its own share of the rows, and the counts of all.</summary>
    public Workers Workers { get; init; } = Workers.Alone;

    /// <summary>How weights and gradients travel among the workers; null where each has all weights and gradients are added up at the end.
    /// </summary>
    public ParameterTraffic? Traffic { get; init; }

    /// <summary>Which of the step's groups is computed; set by <see cref="StepSums"/>.</summary>
    internal int GroupNumber { get; set; }

    /// <summary>Whether the group is the step's last; set by <see cref="StepSums"/>.</summary>
    internal bool IsLastGroup { get; set; }

    /// <summary>The bins of a group, each of which is followed by its gradient, one after the other.</summary>
    public IEnumerable<Bin> Bins(LossGroup group)
    {
        for (var i = 0; i < group.Bins.Count; i++)
        {
            _isLast = Balance is null && IsLastGroup && i == group.Bins.Count - 1;
            TakeTurn(i);
            yield return group.Bins[i];
        }
        _isLast = false;
    }

    /// <summary>The same bins behind all of them, for what is left to learn of some.</summary>
    internal IEnumerable<Bin> BinsOnceMore(LossGroup group)
    {
        for (var i = 0; i < group.Bins.Count; i++)
        {
            TakeTurn(MostTurns / 2 + i);
            yield return group.Bins[i];
        }
    }

    // The bins that workers compute at the same time have the same number.
    private void TakeTurn(long bin)
    {
        if (Traffic is not null)
            Traffic.Turn = GroupNumber * MostTurns + bin;
    }

    private const long MostTurns = 1 << 20;

    private bool _isLast;

    /// <summary>Sum of all parts of this worker.</summary>
    public double Loss => ExactLoss.Value;

    /// <summary>The same, not yet rounded.</summary>
    internal ExactSum ExactLoss { get; } = new();

    /// <summary>Whether any part had something to learn from.</summary>
    public bool Learned => Parts > 0;

    /// <summary>How many parts there were.</summary>
    public int Parts { get; private set; }

    /// <summary>Learns how the group's tokens are spread over experts; null where nobody asks.</summary>
    internal ExpertBalance? Balance { get; set; }

    public ForwardOptions OptionsFor(TokenBatch batch)
    {
        var options = Options?.Invoke(batch) ?? ForwardOptions.Plain;
        return Balance is null ? options : options with { ExpertLoad = Balance[batch] };
    }

    /// <summary>Adds a part that is its own value; in training its gradient is computed at once, so that its graph can go.</summary>
    /// <param name="part">One number; its derivative with respect to itself is 1.</param>
    public void Add(Tensor part) => Add(part, part.ToScalar());

    /// <summary>Adds a part of the loss that has this value, and whose gradient is that of <paramref name="part"/>.</summary>
    public void Add(Tensor part, double value)
    {
        Add(value);
        if (Training)
            GoBack([part, .. Balance?.TakeTerms() ?? []]);
    }

    /// <summary>Computes the gradient of what the network was asked for the balance alone.</summary>
    internal void AddBalance() => GoBack([.. Balance!.TakeTerms()]);

    private void GoBack(Tensor[] roots)
    {
        if (roots.Length == 0)
            return;
        if (Traffic is not null)
            Traffic.IsLastPass = _isLast;
        Tensor.BackwardAll(roots, new Tensor?[roots.Length]);
        Traffic?.EndPass();
    }

    /// <summary>Adds a part whose gradient follows, in parts of value 0.</summary>
    public void Add(double value)
    {
        ExactLoss.Add(value);
        Parts++;
    }
}
