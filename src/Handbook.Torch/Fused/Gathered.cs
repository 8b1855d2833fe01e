using Handbook.Torch.Devices;
using Handbook.Torch.Distributed;

namespace Handbook.Torch.Fused;

/// <summary>Numbers of which each process of a group has computed some, put together; those of one place are added up.</summary>
/// <remarks>All of them go on from the same numbers in the same way, so each has by itself the gradient that its own part needs.</remarks>
internal sealed class Gathered : AutogradNode
{
    private readonly Mirrored<int> _places;

    private Gathered(Mirrored<int> places) => _places = places;

    /// <param name="mine">[M].</param>
    /// <param name="places">Where they belong, without repetition; [M].</param>
    /// <param name="count">T, how many places there are.</param>
    /// <param name="group">Who has the others.</param>
    /// <returns>[T], the same bits for all.</returns>
    public static Tensor Of(Tensor mine, Mirrored<int> places, int count, ContextGroup group)
    {
        using var scope = TensorScope.Enter();
        Tensor all;
        using (GradMode.Disabled())
        {
            all = Tensor.Zeros(mine.DType, mine.Device, count);
            DeviceKernels.Of(mine).SpreadRows(mine.Contiguous().View(-1, 1), places, all.View(-1, 1));
            group.Sum(all);
        }
        if (IsNeeded(mine))
            new Gathered(places).Attach([mine], all);
        return scope.Keep(all);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!.Contiguous();
        var dx = Tensor.Empty(dy.DType, dy.Device, _places.Count, 1);
        DeviceKernels.Of(dy).SelectRows(dy.View(-1, 1), _places, dx);
        return [dx.View(-1)];
    }
}
