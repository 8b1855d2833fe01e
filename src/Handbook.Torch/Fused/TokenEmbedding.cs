using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>Rows of an embedding table, with learned positions where a model has them; the gradient goes back row by row, in the batch's order.</summary>
/// <remarks>Kernel: <see cref="EmbeddingKernel"/>.</remarks>
public sealed unsafe class TokenEmbedding : AutogradNode
{
    private readonly Parameter _table;
    private readonly Parameter? _positionTable;
    private readonly double _scale;
    private readonly int[] _tokens;
    private readonly int[] _positions;

    private TokenEmbedding(int[] tokens, int[] positions, Parameter table, Parameter? positionTable, double scale) =>
        (_tokens, _positions, _table, _positionTable, _scale) = (tokens, positions, table, positionTable, scale);

    /// <param name="tokens">[N].</param>
    /// <param name="positions">[N]; read where there is a position table.</param>
    /// <param name="table">[V, D].</param>
    /// <param name="positionTable">[P, D]; null where positions are not learned.</param>
    /// <param name="scale">Factor on the token's row.</param>
    /// <returns>[N, D], in the precision of the master.</returns>
    public static Tensor Forward(int[] tokens, int[] positions, Parameter table, Parameter? positionTable, double scale = 1)
    {
        using var scope = TensorScope.Enter();
        var needed = IsNeeded(table.Value, positionTable?.Value);
        var node = new TokenEmbedding(tokens, positions, table, positionTable, scale);
        Tensor y;
        using (GradMode.Disabled())
        {
            y = Tensor.Empty(table.Value.DType, Device.Cpu, tokens.Length, table.Value.Size(1));
            if (y.DType == DType.Float64)
                node.Gather<double>(y);
            else
                node.Gather<float>(y);
        }
        if (needed)
            node.Attach([table.Value, positionTable?.Value], y);
        return scope.Keep(y);
    }

    private void Gather<T>(Tensor y) where T : unmanaged
    {
        fixed (int* tokens = _tokens, positions = _positions)
            EmbeddingKernel.Gather(_table.Value.Pointer<T>(), tokens, _positionTable is null ? null : _positionTable.Value.Pointer<T>(), positions, y.Pointer<T>(),
                _tokens.Length, (int)y.Size(1), (int)_table.Value.Size(0), _positionTable is null ? 0 : (int)_positionTable.Value.Size(0), _scale);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!.Contiguous();
        if (dy.DType == DType.Float64)
            Scatter<double>(dy);
        else
            Scatter<float>(dy);
        return [null, null];
    }

    private void Scatter<T>(Tensor dy) where T : unmanaged
    {
        fixed (int* tokens = _tokens, positions = _positions)
        {
            Add(_table, tokens, _scale);
            if (_positionTable is not null)
                Add(_positionTable, positions, 1);
        }

        void Add(Parameter table, int* ids, double scale)
        {
            if (table.IsTrainable)
                EmbeddingKernel.ScatterAdd(dy.Pointer<T>(), ids, table.GradientToAddTo().Pointer<T>(), _tokens.Length, (int)dy.Size(1), (int)table.Value.Size(0), scale);
        }
    }
}
