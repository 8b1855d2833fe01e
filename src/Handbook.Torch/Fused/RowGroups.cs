namespace Handbook.Torch.Fused;

/// <summary>While it lasts, the rows of what goes through the network on this thread belong to groups, each with adapters of its own
/// (<see cref="Parameter.ByGroup"/>).</summary>
internal readonly ref struct RowGroups : IDisposable
{
    [ThreadStatic] private static int[]? s_starts;

    private readonly int[]? _before;

    private RowGroups(int[]? before) => _before = before;

    /// <param name="starts">Row at which each group begins, and behind the last its end; a group may be empty.</param>
    public static RowGroups Of(int[] starts)
    {
        var before = s_starts;
        s_starts = starts;
        return new(before);
    }

    /// <summary>x · Wᵀ + b with what each group's adapters add to its own rows, each row by itself; outside the graph. One product serves
    /// all rows: Chen et al. 2023, Punica, arXiv:2310.18547.</summary>
    /// <param name="x">[N, in], the rows of the groups behind one another.</param>
    /// <param name="weight">[out, in], with a view for each group.</param>
    /// <returns>[N, out].</returns>
    public static Tensor Linear(Tensor x, Parameter weight, Parameter? bias)
    {
        var starts = s_starts ?? throw new InvalidOperationException($"{weight.Name} has adapters by groups, but the rows have none");
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var y = Fused.Linear.Multiply(x, weight, bias, exact: true);
        for (var group = 0; group + 1 < starts.Length; group++)
            if (starts[group + 1] - starts[group] is > 0 and var rows && weight.ByGroup![group] is { Adapters.Count: > 0 } own)
                new AdapterWork(own, null).Add(x.Narrow(0, starts[group], rows), y.Narrow(0, starts[group], rows), null, exact: true);
        return scope.Keep(y);
    }

    public void Dispose() => s_starts = _before;
}
