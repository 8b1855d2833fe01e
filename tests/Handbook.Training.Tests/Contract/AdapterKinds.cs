using Handbook.Models.Adapters;
using Handbook.Torch.Quantised;

namespace Handbook.Training.Tests.Contract;

/// <summary>The kinds of adapter that contracts are checked on.</summary>
public enum AdapterKind
{
    /// <summary>LoRA.</summary>
    Lora,

    /// <summary>DoRA.</summary>
    Dora,

    /// <summary>rsLoRA whose B has a bias.</summary>
    Biased,

    /// <summary>LoRA over nf4 codes whose scales are codes too.</summary>
    Qlora,

    /// <summary>LoRA over int8 codes.</summary>
    Int8,
}

/// <summary>What the kinds of adapter are.</summary>
internal static class AdapterKinds
{
    /// <summary>On every linear layer, with dropout.</summary>
    public static AdapterConfig Config(AdapterKind kind) => new()
    {
        Rank = 3,
        Alpha = 5,
        Dropout = 0.2,
        Targets = ModuleNames.Of(ModuleNames.AllLinearWord),
        UseDora = kind == AdapterKind.Dora,
        UseRslora = kind == AdapterKind.Biased,
        LoraBias = kind == AdapterKind.Biased,
    };

    /// <summary>How the weights below are kept; null as numbers.</summary>
    public static QuantisedFormat? Codes(AdapterKind kind) => kind switch
    {
        AdapterKind.Qlora => new(QuantisedKind.Nf4, Double: true),
        AdapterKind.Int8 => new(QuantisedKind.Int8),
        _ => null,
    };
}
