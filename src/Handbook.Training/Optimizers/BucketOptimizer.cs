using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Optimizers;

/// <summary>
/// An optimiser that treats every element alike: one pass over flat memory, which also writes the copy that products read.
/// </summary>
internal abstract class BucketOptimizer<TRule> : Optimizer where TRule : struct, IOptimizerRule
{
    private readonly ModelParameters _parameters;
    private readonly double _decay;
    private readonly StateLayout _layout;
    private readonly StateStore _store;

    /// <param name="parameters">What to train.</param>
    /// <param name="kinds">What is kept of every element, at most two numbers.</param>
    /// <param name="decay">λ of the buckets with weight decay; the others get 0.</param>
    /// <param name="layout">How it is kept; null for 32 bits in memory.</param>
    /// <param name="updates">The pieces that this optimiser updates; null for all.</param>
    protected BucketOptimizer(ModelParameters parameters, IReadOnlyList<StateKind> kinds, double decay, StateLayout? layout = null,
        Func<ParameterPiece, bool>? updates = null)
    {
        (_parameters, _decay, _layout) = (parameters, decay, layout ?? new());
        _store = new(_layout.SpillFolder, parameters.Plan.Device);
        Stretches = StateStretch.Of(parameters, _store, _layout, kinds, updates ?? (_ => true));
    }

    /// <summary>What is updated, with its states.</summary>
    protected IReadOnlyList<StateStretch> Stretches { get; }

    public override IEnumerable<(string Name, Tensor Value)> State => Stretches.SelectMany(stretch => stretch.State());

    /// <summary>The weight decay and how states are kept, as the end of a description.</summary>
    protected string Common => $"weight decay {_decay}{_layout.Description}";

    /// <summary>The rule with its numbers for the update <see cref="Optimizer.Updates"/>.</summary>
    protected abstract TRule Rule(double rate, double decay);

    protected override void Update(double rate, double gradientScale)
    {
        _parameters.SettleGradients();
        foreach (var stretch in Stretches)
            stretch.Step(Rule(rate * stretch.Bucket.RateFactor, stretch.Bucket.Decays ? _decay : 0), gradientScale);
        _parameters.Traffic?.Changed();
    }

    public override void ReleasePages() => _store.Release();

    public override void Dispose()
    {
        _store.Dispose();
        GC.SuppressFinalize(this);
    }
}
