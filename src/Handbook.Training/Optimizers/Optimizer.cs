using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Optimizers;

/// <summary>Turns gradients into new parameters; its state is part of every checkpoint.</summary>
internal abstract class Optimizer : IDisposable
{
    /// <summary>Updates done so far; the number of the next one is one more.</summary>
    public long Updates { get; set; }

    /// <summary>The optimiser's name with its numbers, as the model card shows it.</summary>
    public abstract string Description { get; }

    /// <summary>What a checkpoint has to keep, by the published names of the parameters; views, made in the surrounding scope.</summary>
    public abstract IEnumerable<(string Name, Tensor Value)> State { get; }

    /// <summary>One update of all parameters.</summary>
    /// <param name="rate">η of this update.</param>
    /// <param name="gradientScale">Factor on every gradient: the clipping.</param>
    public void Step(double rate, double gradientScale)
    {
        Updates++;
        Update(rate, gradientScale);
    }

    protected abstract void Update(double rate, double gradientScale);

    /// <summary>Puts the weights that are evaluated and saved in place, where they are others than those that gradients are taken at, until
    /// the result is disposed of; null where they are the same.</summary>
    public virtual IDisposable? Evaluation() => null;

    /// <summary>Says that states which were just read, for a checkpoint, are not needed until the next step.</summary>
    public virtual void ReleasePages()
    {
    }

    /// <summary>The optimiser that a recipe names.</summary>
    /// <param name="warmup">Steps of warm-up, for the optimiser that has one of its own.</param>
    /// <exception cref="InputException"><c>optim_target_modules</c> names no matrix of the model.</exception>
    public static Optimizer Create(TrainingOptions options, ModelParameters parameters, int warmup = 0)
    {
        var (kind, numbers, decay) = (options.Optimizer(), options.OptimizerArguments(), options.WeightDecay);
        var (beta1, beta2, epsilon) = (options.AdamBeta1, options.AdamBeta2, options.AdamEpsilon);
        var traits = OptimizerTraits.Of(kind);
        var layout = StateLayout.Of(options);
        if (parameters.Plan.Shard.Cuts && traits.NeedsMatrices)
            throw new InputException($"optim: {RecipeNames.Of(kind)} works on whole matrices, which {(parameters.Plan.Shard.IsOrdered ? "deterministic: true" : $"zero_stage {(int)parameters.Plan.Shard.Stage}")} "
                + "cuts", fix: "set zero_stage: 0, or an optimiser that treats every element alike, such as adamw_torch");
        switch (kind)
        {
            case OptimizerKind.AdamW or OptimizerKind.AdamW8Bit or OptimizerKind.PagedAdamW or OptimizerKind.PagedAdamW8Bit:
                return new AdamW(parameters, beta1, beta2, epsilon, decay, layout);
            case OptimizerKind.Lion or OptimizerKind.Lion8Bit or OptimizerKind.PagedLion or OptimizerKind.PagedLion8Bit:
                return new Lion(parameters, beta1, beta2, decay, layout);
            case OptimizerKind.RmsProp or OptimizerKind.RmsProp8Bit:
                return new RmsProp(parameters, numbers.Number("alpha"), numbers.Number("eps"), decay, layout);
            case OptimizerKind.Sgd:
                return new Sgd(parameters, numbers.Number("momentum"), numbers.Flag("nesterov"), decay);
            case OptimizerKind.Adagrad:
                return new Adagrad(parameters, numbers.Number("eps"), numbers.Number("lr_decay"), decay);
            case OptimizerKind.Adafactor:
                return new Adafactor(parameters, new AdafactorStep
                {
                    ClipThreshold = numbers.Number("clip_threshold"),
                    DecayRate = numbers.Number("decay_rate"),
                    ScaleParameter = numbers.Flag("scale_parameter"),
                }, decay);
            case OptimizerKind.ScheduleFreeAdamW:
                return new ScheduleFree(parameters,
                    new(beta1, beta2, epsilon, warmup, numbers.Number("r"), numbers.Number("weight_lr_power")), decay);
            case OptimizerKind.Muon:
                return new Muon(parameters, new(numbers.Number("momentum"), numbers.Flag("nesterov"), (int)numbers.Number("ns_steps"),
                    numbers.Text("adjust_lr_fn") == "match_rms_adamw"), decay,
                    updates => new(parameters, beta1, beta2, epsilon, decay, null, updates));
            case OptimizerKind.GaloreAdamW or OptimizerKind.ApolloAdamW:
                var isTarget = TargetModules.Of(options, parameters);
                var eps = kind == OptimizerKind.GaloreAdamW ? numbers.Number("eps") : epsilon;
                var lowRank = new LowRankOptions((int)numbers.Number("rank"), (int)numbers.Number("update_proj_gap"),
                    numbers.Number("scale"), numbers.Text("proj_type"));
                AdamW Rest(Func<ParameterPiece, bool> updates) =>
                    new(parameters, beta1, beta2, eps, decay, null, updates) { CorrectsEpsilon = true };
                if (kind == OptimizerKind.GaloreAdamW)
                    return new GaLore(parameters, lowRank, beta1, beta2, eps, decay, isTarget, Rest);
                var apollo = new ApolloOptions(numbers.Text("proj") == "svd", numbers.Text("scale_type") == "tensor", options.Seed);
                return new Apollo(parameters, lowRank, apollo, beta1, beta2, eps, decay, isTarget, Rest);
            default:
                throw new NotSupportedException($"optimiser {kind}");
        }
    }

    public abstract void Dispose();
}
