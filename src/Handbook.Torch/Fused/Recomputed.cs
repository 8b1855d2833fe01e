namespace Handbook.Torch.Fused;

/// <summary>Gradient checkpointing: keeps the inputs of a block alone, and runs the block again in the backward pass. Chen et al. 2016, arXiv:1604.06174.</summary>
/// <remarks>The block must compute the same bits both times, so randomness stays outside it.</remarks>
public sealed class Recomputed : AutogradNode
{
    private readonly Func<Tensor, Tensor?, (Tensor, Tensor?)> _block;
    private Tensor _first = null!;
    private Tensor? _second;

    private Recomputed(Func<Tensor, Tensor?, (Tensor, Tensor?)> block) => _block = block;

    /// <summary>Runs <paramref name="block"/> on (<paramref name="first"/>, <paramref name="second"/>) without keeping what is inside.</summary>
    public static (Tensor, Tensor?) Run(Tensor first, Tensor? second, Func<Tensor, Tensor?, (Tensor, Tensor?)> block)
    {
        if (!IsNeeded(first, second))
            return block(first, second);
        using var scope = TensorScope.Enter();
        var node = new Recomputed(block);
        Tensor a;
        Tensor? b;
        using (GradMode.Disabled())
        {
            (a, b) = block(first, second);
            node._first = node.Save(first);
            node._second = second is null ? null : node.Save(second);
        }
        if (b is null)
            node.Attach([first, second], a);
        else
            node.Attach([first, second], a, b);
        return (scope.Keep(a), b is null ? null : scope.Keep(b));
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        using var mode = GradMode.Enabled();
        var first = _first.Detach();
        first.RequiresGrad = true;
        var second = _second?.Detach();
        if (second is not null)
            second.RequiresGrad = true;
        var (a, b) = _block(first, second);
        var (roots, given) = (new List<Tensor>(), new List<Tensor?>());
        if (gradients[0] is not null)
        {
            roots.Add(a);
            given.Add(gradients[0]);
        }
        if (b is not null && gradients[1] is not null)
        {
            roots.Add(b);
            given.Add(gradients[1]);
        }
        Tensor.BackwardAll([.. roots], [.. given]);
        return [first.Grad, second?.Grad];
    }
}
