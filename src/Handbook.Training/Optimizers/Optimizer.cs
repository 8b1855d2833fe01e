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

    /// <summary>The optimiser that a recipe names.</summary>
    public static Optimizer Create(TrainingOptions options, ModelParameters parameters)
    {
        var (numbers, decay) = (options.OptimizerArguments(), options.WeightDecay);
        return options.Optimizer() switch
        {
            OptimizerKind.AdamW => new AdamW(parameters, options.AdamBeta1, options.AdamBeta2, options.AdamEpsilon, decay),
            OptimizerKind.RmsProp => new RmsProp(parameters, numbers.Number("alpha", 0.99), numbers.Number("eps", 1e-8), decay),
            OptimizerKind.Sgd => new Sgd(parameters, numbers.Number("momentum", 0), numbers.Flag("nesterov"), decay),
            OptimizerKind.Adagrad => new Adagrad(parameters, numbers.Number("eps", 1e-10), numbers.Number("lr_decay", 0), decay),
            OptimizerKind.Lion => new Lion(parameters, options.AdamBeta1, options.AdamBeta2, decay),
            OptimizerKind.Adafactor => new Adafactor(parameters, new AdafactorStep
            {
                ClipThreshold = numbers.Number("clip_threshold", 1),
                DecayRate = numbers.Number("decay_rate", -0.8),
                ScaleParameter = numbers.Flag("scale_parameter"),
            }, decay),
            var other => throw new NotSupportedException($"optimiser {other}"),
        };
    }

    public abstract void Dispose();
}
