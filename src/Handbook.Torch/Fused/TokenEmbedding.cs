using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>Rows of an embedding table, with learned positions where a model has them; the gradient goes back row by row, in the batch's
/// order.</summary>
/// <remarks>Kernel: <see cref="EmbeddingKernel"/>.</remarks>
internal sealed class TokenEmbedding : AutogradNode
{
    private readonly Parameter _table;
    private readonly Parameter? _positionTable;
    private readonly double _scale;
    private readonly int _padding;
    private readonly int _firstPosition;
    private readonly Mirrored<int> _tokens;
    private readonly Mirrored<int> _positions;

    private TokenEmbedding(Mirrored<int> tokens, Mirrored<int> positions, Parameter table, Parameter? positionTable, double scale,
        int padding, int firstPosition) => (_tokens, _positions, _table, _positionTable, _scale, _padding, _firstPosition) =
        (tokens, positions, table, positionTable, scale, padding, firstPosition);

    /// <param name="tokens">[N].</param>
    /// <param name="positions">[N]; read where there is a position table.</param>
    /// <param name="table">[V, D].</param>
    /// <param name="positionTable">[P, D]; null where positions are not learned.</param>
    /// <param name="output">Element type of the result; a frozen table may be narrower.</param>
    /// <param name="scale">Factor on the token's row.</param>
    /// <param name="padding">The token whose row gets no gradient from being looked up; −1 for none.</param>
    /// <param name="firstPosition">The row of position 0 in the position table.</param>
    /// <returns>[N, D].</returns>
    public static Tensor Forward(Mirrored<int> tokens, Mirrored<int> positions, Parameter table, Parameter? positionTable, DType output,
        double scale = 1, int padding = -1, int firstPosition = 0)
    {
        using var scope = TensorScope.Enter();
        var needed = IsNeeded(table.Value, positionTable?.Value);
        var node = new TokenEmbedding(tokens, positions, table, positionTable, scale, padding, firstPosition);
        Tensor y;
        using (GradMode.Disabled())
        {
            y = Tensor.Empty(output, table.Value.Device, tokens.Count, table.Value.Size(1));
            DeviceKernels.Of(y).EmbeddingForward(tokens, positions, table.Value, positionTable is null ? null
                : FromFirst(positionTable.Value, firstPosition), scale, y);
        }
        if (needed)
            node.Attach([table.Value, positionTable?.Value], y);
        return scope.Keep(y);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!.Contiguous();
        var kernels = DeviceKernels.Of(dy);
        if (_table.IsTrainable)
            kernels.EmbeddingBackward(dy, _tokens, _scale, _table.GradientToAddTo(), _padding);
        if (_positionTable is { IsTrainable: true })
            kernels.EmbeddingBackward(dy, _positions, 1, FromFirst(_positionTable.GradientToAddTo(), _firstPosition), padding: -1);
        return [null, null];
    }

    /// <summary>The rows of a position table from that of position 0 on.</summary>
    private static Tensor FromFirst(Tensor table, int first) => first == 0 ? table : table.Detach().Narrow(0, first, table.Size(0) - first);
}
