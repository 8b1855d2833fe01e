namespace Handbook.Torch.Devices;

/// <summary>Kernels that ATen has fused and some installations lack, called by the names of their arguments.</summary>
internal static class AtenKernels
{
    /// <summary>x · Wᵀ of 8-bit floats with a scale each, on cards of compute capability 8.9 and newer; null where this libtorch has none.
    /// </summary>
    public static NamedOperator? ScaledProduct { get; } = NamedOperator.Find("aten::_scaled_mm");

    /// <summary>AdamW over many parameters at once; null where this libtorch has none.</summary>
    public static NamedOperator? FusedAdamW { get; } = NamedOperator.Find("aten::_fused_adamw_");

    /// <summary>RMS norm with its inverse deviation; libtorch 2.9 and newer, null elsewhere.</summary>
    public static NamedOperator? FusedRmsNorm { get; } = NamedOperator.Find("aten::_fused_rms_norm");

    /// <param name="product"><see cref="ScaledProduct"/>.</param>
    /// <param name="x">[N, D], <see cref="DType.Float8E4M3"/>.</param>
    /// <param name="transposed">Wᵀ, [D, F], of 8-bit floats, column after column.</param>
    /// <param name="scaleX">What an 8-bit 1 of x stands for; one float32.</param>
    /// <param name="scaleW">The same of W.</param>
    /// <param name="dtype">Of the result.</param>
    /// <param name="fast">Sums with fewer bits.</param>
    /// <returns>[N, F].</returns>
    public static Tensor Product(NamedOperator product, Tensor x, Tensor transposed, Tensor scaleX, Tensor scaleW, DType dtype, bool fast)
    {
        using var scope = TensorScope.Enter();
        // before 2.5 there was a second result, the largest magnitude
        return scope.Keep(product.Call(("self", x), ("mat2", transposed), ("scale_a", scaleX), ("scale_b", scaleW), ("out_dtype", dtype),
            ("use_fast_accum", fast))[0]);
    }

    /// <summary>One step of AdamW, in place.</summary>
    /// <param name="adamW"><see cref="FusedAdamW"/>.</param>
    /// <param name="steps">How many steps each parameter has made, this one included; float32, [].</param>
    /// <param name="beta1">β₁.</param>
    /// <param name="beta2">β₂.</param>
    /// <param name="weightDecay">λ; decoupled.</param>
    /// <param name="epsilon">ε beside the root.</param>
    public static void Step(NamedOperator adamW, Tensor[] parameters, Tensor[] gradients, Tensor[] means, Tensor[] squares, Tensor[] steps,
        double learningRate, double beta1, double beta2, double weightDecay, double epsilon)
    {
        using var scope = TensorScope.Enter();
        adamW.Call(("self", parameters), ("grads", gradients), ("exp_avgs", means), ("exp_avg_sqs", squares),
            ("max_exp_avg_sqs", Array.Empty<Tensor>()), ("state_steps", steps), ("lr", learningRate), ("beta1", beta1), ("beta2", beta2),
            ("weight_decay", weightDecay), ("eps", epsilon), ("amsgrad", false), ("maximize", false));
    }

    /// <param name="norm"><see cref="FusedRmsNorm"/>.</param>
    /// <param name="x">[N, D].</param>
    /// <param name="weight">[D].</param>
    /// <param name="epsilon">ε under the root.</param>
    /// <returns>y, [N, D], and 1/√(mean square + ε), [N, 1].</returns>
    public static (Tensor Output, Tensor InverseDeviation) RmsNorm(NamedOperator norm, Tensor x, Tensor weight, double epsilon)
    {
        using var scope = TensorScope.Enter();
        var results = norm.Call(("input", x), ("normalized_shape", weight.Shape.ToArray()), ("weight", weight), ("eps", epsilon));
        return (scope.Keep(results[0]), scope.Keep(results[1]));
    }
}
