using Handbook.Models;
using Handbook.Recipes;
using Handbook.Torch;

namespace Handbook.Training.Optimizers;

/// <summary>Turns gradients into new parameters; its state is part of every checkpoint.</summary>
public abstract class Optimizer : IDisposable
{
    /// <summary>Updates done so far; the number of the next one is one more.</summary>
    public long Updates { get; set; }

    /// <summary>The optimiser's name with its numbers, as the model card shows it.</summary>
    public abstract string Description { get; }

    /// <summary>What a checkpoint has to keep, by name.</summary>
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
    public static Optimizer Create(TrainingOptions options, ModelParameters parameters) => options.Optim switch
    {
        OptimizerKind.AdamW => new AdamW(parameters, options.AdamBeta1, options.AdamBeta2, options.AdamEpsilon, options.WeightDecay),
        _ => throw new NotSupportedException($"optimiser {options.Optim}"),
    };

    public abstract void Dispose();
}
