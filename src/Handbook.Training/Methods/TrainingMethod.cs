using Handbook.Base.Keys;

namespace Handbook.Training.Methods;

/// <summary>The training methods of the handbook.</summary>
public enum TrainingMethod
{
    /// <summary>Supervised fine-tuning.</summary>
    [Spelled("sft")] Sft,
    /// <summary>Continued pretraining.</summary>
    [Spelled("cpt")] Cpt,
    /// <summary>Direct preference optimisation.</summary>
    [Spelled("dpo")] Dpo,
    /// <summary>Odds-ratio preference optimisation.</summary>
    [Spelled("orpo")] Orpo,
    /// <summary>Kahneman–Tversky optimisation, on answers that are good or bad by themselves.</summary>
    [Spelled("kto")] Kto,
    /// <summary>Contrastive preference optimisation and its family (SimPO, AlphaPO).</summary>
    [Spelled("cpo")] Cpo,
    /// <summary>Binary classifier optimisation, on answers that are good or bad by themselves.</summary>
    [Spelled("bco")] Bco,
    /// <summary>Reward modelling.</summary>
    [Spelled("reward")] Reward,
    /// <summary>Group-relative policy optimisation.</summary>
    [Spelled("grpo")] Grpo,
    /// <summary>Sampling, scoring, selecting, and training on what was selected.</summary>
    [Spelled("rejection-sample", "rejection_sample")] RejectionSample,
}
