using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Quantised;
using Handbook.Training.Methods;

namespace Handbook.Training.Plans;

/// <summary>The keys of a base that is kept in few bits while an adapter is trained over it, under the names of TRL's options.</summary>
public sealed record QuantisationOptions
{
    /// <summary>Keep the linear weights of the layers in four bits (QLoRA): about 0.53 bytes a weight instead of 2 or 4.</summary>
    [Key(IsUsual = true, Name = "load_in_4bit")]
    public bool LoadIn4Bit { get; init; }

    /// <summary>Keep the linear weights of the layers in eight bits: about one byte a weight.</summary>
    [Key(Name = "load_in_8bit")]
    public bool LoadIn8Bit { get; init; }

    /// <summary>The four-bit code: <c>nf4</c> for weights that look normal, as those of trained networks do, or <c>fp4</c>.</summary>
    [Key(Name = "bnb_4bit_quant_type")]
    public FourBitCode Bnb4BitQuantType { get; init; }

    /// <summary>Element type in which four-bit weights are multiplied: <c>float32</c> or <c>bfloat16</c>; null takes that of the
    /// run.</summary>
    [Key(Name = "bnb_4bit_compute_dtype")]
    public WeightType? Bnb4BitComputeDtype { get; init; }

    /// <summary>Keep the scales of four-bit weights as eight-bit codes themselves: 0.04 bytes a weight less.</summary>
    [Key(Aliases = ["bnb_4bit_use_double_quant"])]
    public bool UseBnbNestedQuant { get; init; }

    internal void Validate(bool usesAdapter, Diagnostics report)
    {
        var key = LoadIn4Bit ? "load_in_4bit" : "load_in_8bit";
        if (LoadIn4Bit && LoadIn8Bit)
            report.Error("load_in_8bit", "is true beside load_in_4bit", why: "the weights are kept in four bits or in eight",
                fix: "remove one of the two");
        else if ((LoadIn4Bit || LoadIn8Bit) && !usesAdapter)
            report.Error(key, "is true, but use_peft is false",
                why: "weights in few bits cannot be trained themselves: an update is smaller "
                + "than what they can tell apart", fix: "set use_peft: true to train an adapter over them, or remove the key");
        if (Bnb4BitComputeDtype is WeightType.Float16)
            report.Error("bnb_4bit_compute_dtype", "is float16, in which this version does not multiply",
                why: "processors have no fast float16 product, and bfloat16 has float32's range besides",
                fix: "set bnb_4bit_compute_dtype: bfloat16, or float32; without the key it is that of the run");
    }

    /// <summary>How the frozen weights are kept; null as the file has them.</summary>
    /// <param name="compute">Element type of the run's products.</param>
    internal WeightQuantisation? Quantisation(DType compute) => LoadIn4Bit
        ? new(new(Bnb4BitQuantType == FourBitCode.Fp4 ? QuantisedKind.Fp4 : QuantisedKind.Nf4, UseBnbNestedQuant),
            Bnb4BitComputeDtype switch
            {
                WeightType.Float32 => DType.Float32,
                WeightType.BFloat16 => DType.BFloat16,
                _ => compute,
            })
        : LoadIn8Bit ? new(new(QuantisedKind.Int8), compute) : null;
}

/// <summary>A four-bit code of weights.</summary>
public enum FourBitCode
{
    /// <summary>Quantiles of a normal distribution.</summary>
    [Spelled("nf4")] Nf4,
    /// <summary>A sign, two bits of exponent, one of fraction.</summary>
    [Spelled("fp4")] Fp4,
}
