using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cuda;

/// <summary>Embeddings, rows that are picked, and steps of optimisers.</summary>
internal sealed unsafe partial class CudaKernels
{
    public override void EmbeddingForward(Mirrored<int> tokens, Mirrored<int> positions, Tensor table, Tensor? positionTable, double scale,
        Tensor y)
    {
        NeedFloat32("an embedding", y);
        if (positionTable is not null && positionTable.DType != table.DType)
            throw Unsupported("an embedding", table, positionTable);
        Within(tokens, table.Size(0), "token");
        if (positionTable is not null)
            Within(positions, positionTable.Size(0), "position");
        switch (table.DType)
        {
            case DType.Float32: Embed<float>(tokens, positions, table, positionTable, scale, y); break;
            case DType.BFloat16: Embed<BFloat16>(tokens, positions, table, positionTable, scale, y); break;
            case DType.Float16: Embed<Half>(tokens, positions, table, positionTable, scale, y); break;
            default: throw Unsupported("an embedding", table);
        }
    }

    private void Embed<T>(Mirrored<int> tokens, Mirrored<int> positions, Tensor table, Tensor? positionTable, double scale, Tensor y)
        where T : unmanaged
    {
        using var scope = TensorScope.Enter();
        queue.Launch(CudaRows.EmbeddingForward(tokens.On(y.Device).Pointer<int>(),
            positionTable is null ? null : positions.On(y.Device).Pointer<int>(), table.Pointer<T>(), PointerOrNull<T>(positionTable),
            y.Pointer<float>(), tokens.Count, (int)y.Size(1), (float)scale), y.Device);
    }

    public override void EmbeddingBackward(Tensor dy, Mirrored<int> ids, double scale, Tensor tableGradient, int padding)
    {
        NeedFloat32("the gradient of an embedding", dy, tableGradient);
        Within(ids, tableGradient.Size(0), "token");
        using var scope = TensorScope.Enter();
        // one block adds up all rows of an id, in their order
        var order = new long[ids.Count];
        for (var i = 0; i < order.Length; i++)
            order[i] = (long)ids.Host[i] << 32 | (uint)i;
        Array.Sort(order);
        queue.Launch(CudaRows.EmbeddingBackward(Tensor.From(order).To(dy.Device).Pointer<long>(), dy.Pointer<float>(),
            tableGradient.Pointer<float>(), ids.Count, (int)dy.Size(1), (float)scale, padding), dy.Device);
    }

    public override void SelectRows(Tensor x, Mirrored<int> rows, Tensor y)
    {
        Within(rows, x.Size(0), "row");
        using var scope = TensorScope.Enter();
        queue.Launch(CudaRows.Select((byte*)x.Data, rows.On(x.Device).Pointer<int>(), (byte*)y.Data, rows.Count, x.Size(1) * x.DType.Size),
            x.Device);
    }

    public override void SpreadRows(Tensor dy, Mirrored<int> rows, Tensor dx)
    {
        Within(rows, dx.Size(0), "row");
        using var scope = TensorScope.Enter();
        queue.Launch(CudaRows.Spread((byte*)dy.Data, rows.On(dy.Device).Pointer<int>(), (byte*)dx.Data, rows.Count,
            dy.Size(1) * dy.DType.Size), dy.Device);
    }

    // A kernel would read beside the table; numbers that only the device has were made there from checked ones.
    private static void Within(Mirrored<int> numbers, long count, string what)
    {
        if (!numbers.IsOnHost)
            return;
        foreach (var number in numbers.Host)
            if ((uint)number >= (ulong)count)
                throw new ArgumentOutOfRangeException(nameof(numbers), number, $"{what} {number} of a table of {count} rows");
    }

    // ---- optimisers ----------------------------------------------------------------------------------------------

    public override void OptimizerStep<TRule>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<Tensor> states, Tensor? copy,
        double gradientScale)
    {
        var (first, second) = (states.Length > 0 ? states[0] : null, states.Length > 1 ? states[1] : null);
        switch (parameters.DType)
        {
            case DType.Float32: Step<float>(); break;
            case DType.BFloat16: Step<BFloat16>(); break;
            default: throw Unsupported("an optimiser's step", parameters);
        }

        void Step<T>() where T : unmanaged =>
            queue.Launch(CudaOptimizers.Step(rule, parameters.Pointer<T>(), gradients.Pointer<T>(), PointerOrNull<T>(first),
                PointerOrNull<T>(second), PointerOrNull<BFloat16>(copy), parameters.Count, gradientScale, null), parameters.Device);
    }

    public override void OptimizerStep<TRule>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<CodedTensors> states,
        Tensor? copy, double gradientScale)
    {
        NeedFloat32("an optimiser's step with 8-bit states", parameters, gradients);
        using var scope = TensorScope.Enter();
        var (first, second) = (states[0], states.Length > 1 ? states[1] : default);
        queue.Launch(CudaOptimizers.Step(rule, parameters.Pointer<float>(), gradients.Pointer<float>(), first.Codes.Pointer<byte>(),
            first.Scales.Pointer<float>(), Values(first.Code).On(parameters.Device).Pointer<float>(), PointerOrNull<byte>(second.Codes),
            PointerOrNull<float>(second.Scales), second.Code is null ? null : Values(second.Code).On(parameters.Device).Pointer<float>(),
            PointerOrNull<BFloat16>(copy), parameters.Count, gradientScale, null), parameters.Device);
    }

    private static readonly Mirrored<float> s_signed = new(DynamicCode.Signed.Values.ToArray());
    private static readonly Mirrored<float> s_unsigned = new(DynamicCode.Unsigned.Values.ToArray());

    private static Mirrored<float> Values(DynamicCode code) => code == DynamicCode.Signed ? s_signed : s_unsigned;
}
