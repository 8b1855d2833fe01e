using Handbook.Base.Keys;
using Handbook.Training.Methods.Bco;
using Handbook.Training.Methods.Cpo;
using Handbook.Training.Methods.Cpt;
using Handbook.Training.Methods.Dpo;
using Handbook.Training.Methods.Grpo;
using Handbook.Training.Methods.Kto;
using Handbook.Training.Methods.Orpo;
using Handbook.Training.Methods.Rejection;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Methods.Sft;

namespace Handbook.Training.Methods;

/// <summary>The training methods of the handbook, each with the name of its command and what defines it.</summary>
/// <remarks>This is the one table of methods. A new one is a folder with its <see cref="MethodDefinition"/>, and a line here.</remarks>
public enum TrainingMethod
{
    /// <summary>Supervised fine-tuning.</summary>
    [Spelled("sft"), Defined<SftDefinition>] Sft,
    /// <summary>Continued pretraining.</summary>
    [Spelled("cpt"), Defined<CptDefinition>] Cpt,
    /// <summary>Direct preference optimisation.</summary>
    [Spelled("dpo"), Defined<DpoDefinition>] Dpo,
    /// <summary>Odds-ratio preference optimisation.</summary>
    [Spelled("orpo"), Defined<OrpoDefinition>] Orpo,
    /// <summary>Kahneman–Tversky optimisation, on answers that are good or bad by themselves.</summary>
    [Spelled("kto"), Defined<KtoDefinition>] Kto,
    /// <summary>Contrastive preference optimisation and its family (SimPO, AlphaPO).</summary>
    [Spelled("cpo"), Defined<CpoDefinition>] Cpo,
    /// <summary>Binary classifier optimisation, on answers that are good or bad by themselves.</summary>
    [Spelled("bco"), Defined<BcoDefinition>] Bco,
    /// <summary>Reward modelling.</summary>
    [Spelled("reward"), Defined<RewardDefinition>] Reward,
    /// <summary>Group-relative policy optimisation.</summary>
    [Spelled("grpo"), Defined<GrpoDefinition>] Grpo,
    /// <summary>Sampling, scoring, selecting, and training on what was selected.</summary>
    [Spelled("rejection-sample", "rejection_sample"), Defined<RejectionDefinition>] RejectionSample,
}
