using Handbook.Base.Keys;

namespace Handbook.Training;

/// <summary>The shapes of the learning rate over a run.</summary>
public enum SchedulerType
{
    /// <summary>Linear warmup, then linearly to 0.</summary>
    [Spelled("linear")] Linear,
    /// <summary>Linear warmup, then half a cosine to 0.</summary>
    [Spelled("cosine")] Cosine,
    /// <summary>Linear warmup, then <c>num_cycles</c> half cosines, each from the peak.</summary>
    [Spelled("cosine_with_restarts")] CosineWithRestarts,
    /// <summary>Linear warmup, then half a cosine to <c>min_lr</c>.</summary>
    [Spelled("cosine_with_min_lr")] CosineWithMinLr,
    /// <summary>As <c>cosine_with_min_lr</c>, one step earlier, with a warmup that may begin above 0.</summary>
    [Spelled("cosine_warmup_with_min_lr")] CosineWarmupWithMinLr,
    /// <summary>Linear warmup, then a power of what is left down to <c>lr_end</c>.</summary>
    [Spelled("polynomial")] Polynomial,
    /// <summary>The peak throughout, without warmup.</summary>
    [Spelled("constant")] Constant,
    /// <summary>Linear warmup, then the peak.</summary>
    [Spelled("constant_with_warmup")] ConstantWithWarmup,
    /// <summary>Linear warmup, then with the inverse root of the step.</summary>
    [Spelled("inverse_sqrt")] InverseSqrt,
    /// <summary>The peak, multiplied by a factor whenever the evaluation does not improve for some time.</summary>
    [Spelled("reduce_lr_on_plateau")] ReduceLrOnPlateau,
    /// <summary>Warmup, the peak, and a decay at the end.</summary>
    [Spelled("warmup_stable_decay")] WarmupStableDecay,
}
