using System.Numerics.Tensors;

namespace Handbook.Torch.Fused;

/// <summary>Rows of an embedding table, with learned positions where a model has them; the gradient goes back row by row, in the batch's order.</summary>
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

    private void Gather<T>(Tensor y) where T : unmanaged, System.Numerics.INumber<T>
    {
        var width = (int)y.Size(1);
        for (var i = 0; i < _tokens.Length; i++)
        {
            var target = new Span<T>(y.Pointer<T>() + (long)i * width, width);
            var row = Row<T>(_table.Value, _tokens[i]);
            if (_scale == 1)
                row.CopyTo(target);
            else
                TensorPrimitives.Multiply(row, T.CreateChecked(_scale), target);
            if (_positionTable is not null)
                TensorPrimitives.Add(target, Row<T>(_positionTable.Value, _positions[i]), target);
        }
    }

    private static Span<T> Row<T>(Tensor table, int index) where T : unmanaged
    {
        if ((ulong)index >= (ulong)table.Size(0))
            throw new ArgumentOutOfRangeException(nameof(index), index, $"the embedding has {table.Size(0)} rows");
        var width = (int)table.Size(1);
        return new Span<T>(table.Pointer<T>() + (long)index * width, width);
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

    private void Scatter<T>(Tensor dy) where T : unmanaged, System.Numerics.INumber<T>
    {
        var width = (int)dy.Size(1);
        var table = _table.IsTrainable ? _table.GradientToAddTo() : null;
        var places = _positionTable is { IsTrainable: true } ? _positionTable.GradientToAddTo() : null;
        for (var i = 0; i < _tokens.Length; i++)
        {
            var row = new ReadOnlySpan<T>(dy.Pointer<T>() + (long)i * width, width);
            if (table is not null)
            {
                var target = Row<T>(table, _tokens[i]);
                if (_scale == 1)
                    TensorPrimitives.Add(target, row, target);
                else
                    TensorPrimitives.MultiplyAdd(row, T.CreateChecked(_scale), target, target);
            }
            if (places is not null)
            {
                var target = Row<T>(places, _positions[i]);
                TensorPrimitives.Add(target, row, target);
            }
        }
    }
}
