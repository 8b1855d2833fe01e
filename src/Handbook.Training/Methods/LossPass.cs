using Handbook.Data;
using Handbook.Models;
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

    /// <summary>Sum of all parts of this worker.</summary>
    public double Loss { get; private set; }

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

    private static void GoBack(Tensor[] roots)
    {
        if (roots.Length > 0)
            Tensor.BackwardAll(roots, new Tensor?[roots.Length]);
    }

    /// <summary>Adds a part whose gradient follows, in parts of value 0.</summary>
    public void Add(double value)
    {
        Loss += value;
        Parts++;
    }
}
