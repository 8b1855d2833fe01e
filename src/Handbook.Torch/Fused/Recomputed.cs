namespace Handbook.Torch.Fused;

/// <summary>
/// Gradient checkpointing: keeps the inputs of a block alone, and runs the block again in the backward pass. Chen et al. 2016,
/// arXiv:1604.06174.
/// </summary>
/// <remarks>The block must compute the same bits both times, so randomness stays outside it.</remarks>
internal sealed class Recomputed : AutogradNode
{
    private readonly Func<Tensor?[], Tensor?[]> _block;
    private Tensor?[] _inputs = [];
    private bool[] _wanted = [];
    private bool[] _present = [];

    private Recomputed(Func<Tensor?[], Tensor?[]> block) => _block = block;

    /// <summary>
    /// Runs <paramref name="block"/> on <paramref name="inputs"/> without keeping what is inside; either may have null among its tensors.
    /// </summary>
    /// <returns>What the block returned.</returns>
    public static Tensor?[] Run(Func<Tensor?[], Tensor?[]> block, params Tensor?[] inputs)
    {
        if (!IsNeeded(inputs))
            return block(inputs);
        using var scope = TensorScope.Enter();
        var node = new Recomputed(block);
        Tensor?[] outputs;
        using (GradMode.Disabled())
        {
            outputs = block(inputs);
            node._inputs = Array.ConvertAll(inputs, input => input is null ? null : node.Save(input));
            node._wanted = Array.ConvertAll(inputs, input => input is { RequiresGrad: true });
            node._present = Array.ConvertAll(outputs, output => output is not null);
        }
        node.Attach(inputs, [.. outputs.OfType<Tensor>()]);
        foreach (var output in outputs)
            if (output is not null)
                scope.Keep(output);
        return outputs;
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        using var mode = GradMode.Enabled();
        var inputs = new Tensor?[_inputs.Length];
        for (var i = 0; i < inputs.Length; i++)
        {
            inputs[i] = _inputs[i]?.Detach();
            if (_wanted[i])
                inputs[i]!.RequiresGrad = true;
        }
        var outputs = _block(inputs);
        var (roots, given, next) = (new List<Tensor>(), new List<Tensor?>(), 0);
        for (var i = 0; i < outputs.Length; i++)
        {
            if (!_present[i] || gradients[next++] is not { } gradient || !outputs[i]!.RequiresGrad)
                continue;
            roots.Add(outputs[i]!);
            given.Add(gradient);
        }
        if (roots.Count > 0)
            Tensor.BackwardAll([.. roots], [.. given]);
        return Array.ConvertAll(inputs, input => input?.Grad);
    }
}
