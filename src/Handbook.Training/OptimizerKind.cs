using Handbook.Base.Keys;

namespace Handbook.Training;

/// <summary>The optimisers of this version.</summary>
public enum OptimizerKind
{
    /// <summary>Adam with decoupled weight decay. Loshchilov and Hutter 2019, arXiv:1711.05101.</summary>
    [Spelled("adamw_torch", "adamw_torch_fused", "adamw_torch_xla", "adamw_torch_npu_fused", "adamw_apex_fused", "adamw_hf", "adamw")]
    AdamW,
    /// <summary>AdamW with states of 8 bits in blocks of 256. Dettmers et al. 2022, arXiv:2110.02861.</summary>
    [Spelled("adamw_bnb_8bit", "adamw_8bit", "adamw_torch_8bit")] AdamW8Bit,
    /// <summary>AdamW with states in a file of the run folder.</summary>
    [Spelled("paged_adamw_32bit", "paged_adamw")] PagedAdamW,
    /// <summary>AdamW with states of 8 bits in a file of the run folder.</summary>
    [Spelled("paged_adamw_8bit")] PagedAdamW8Bit,
    /// <summary>Gradients divided by the root of their running mean square.</summary>
    [Spelled("rmsprop", "rmsprop_bnb", "rmsprop_bnb_32bit")] RmsProp,
    /// <summary>RMSprop with a state of 8 bits.</summary>
    [Spelled("rmsprop_bnb_8bit")] RmsProp8Bit,
    /// <summary>Plain gradient descent, with momentum where <c>optim_args</c> asks for it.</summary>
    [Spelled("sgd")] Sgd,
    /// <summary>Gradients divided by the root of the sum of their squares. Duchi et al. 2011.</summary>
    [Spelled("adagrad")] Adagrad,
    /// <summary>Adam with factored second moments. Shazeer and Stern 2018, arXiv:1804.04235.</summary>
    [Spelled("adafactor")] Adafactor,
    /// <summary>The sign of a momentum. Chen et al. 2023, arXiv:2302.06675.</summary>
    [Spelled("lion_32bit", "lion")] Lion,
    /// <summary>Lion with a state of 8 bits.</summary>
    [Spelled("lion_8bit")] Lion8Bit,
    /// <summary>Lion with its state in a file of the run folder.</summary>
    [Spelled("paged_lion_32bit", "paged_lion")] PagedLion,
    /// <summary>Lion with a state of 8 bits in a file of the run folder.</summary>
    [Spelled("paged_lion_8bit")] PagedLion8Bit,
    /// <summary>Orthogonal steps for the matrices of layers, AdamW for the rest. Jordan et al. 2024.</summary>
    [Spelled("muon")] Muon,
    /// <summary>AdamW with a mean of weights in a schedule's place. Defazio et al. 2024, arXiv:2405.15682.</summary>
    [Spelled("schedule_free_adamw")] ScheduleFreeAdamW,
    /// <summary>AdamW on gradients projected to few directions. Zhao et al. 2024, arXiv:2403.03507.</summary>
    [Spelled("galore_adamw")] GaloreAdamW,
    /// <summary>Gradients scaled by AdamW on random projections of them. Zhu et al. 2024, arXiv:2412.05270.</summary>
    [Spelled("apollo_adamw")] ApolloAdamW,
}

/// <summary>Where the optimiser's states lie.</summary>
public enum OptimizerOffload
{
    /// <summary>Where the weights are.</summary>
    [Spelled("none")] None,

    /// <summary>In the machine's memory.</summary>
    [Spelled("cpu")] Memory,

    /// <summary>In a file.</summary>
    [Spelled("nvme", "file")] File,
}
