using Handbook.Torch;

namespace Handbook.Training.Optimizers;

/// <summary>On which sides of a gradient a projection stands.</summary>
/// <param name="Left">G becomes Lᵀ·G.</param>
/// <param name="Right">G becomes G·Rᵀ.</param>
internal readonly record struct ProjectionSides(bool Left, bool Right)
{
    /// <summary>The sides by their name in the package of GaLore: <c>std</c> takes the shorter one.</summary>
    public static ProjectionSides Of(string name, int rows, int columns) => name switch
    {
        "left" => new(true, false),
        "right" => new(false, true),
        "full" => new(true, true),
        "reverse_std" => rows >= columns ? new(true, false) : new(false, true),
        _ => rows >= columns ? new(false, true) : new(true, false),
    };
}

/// <summary>A gradient [M, N] seen along a few directions. Zhao et al. 2024, arXiv:2403.03507.</summary>
/// <remarks><code>low = Lᵀ · G · Rᵀ;   back: L · low · R;   a side that is not projected is left out</code></remarks>
internal sealed class GradientProjection
{
    private readonly StateStore _store;
    private readonly ParameterPiece _piece;
    private readonly Tensor? _left, _right;

    public GradientProjection(StateStore store, ParameterPiece piece, ProjectionSides sides, int rank)
    {
        (_store, _piece) = (store, piece);
        Rank = Math.Min(rank, Math.Min(piece.Rows, piece.Width));
        (Rows, Columns) = (sides.Left ? Rank : piece.Rows, sides.Right ? Rank : piece.Width);
        _left = sides.Left ? Zeros(piece.Rows, Rank) : null;
        _right = sides.Right ? Zeros(Rank, piece.Width) : null;
    }

    /// <summary>R, at most the shorter side of the matrix.</summary>
    public int Rank { get; }

    /// <summary>Rows of the projected gradient.</summary>
    public int Rows { get; }

    /// <summary>Columns of the projected gradient.</summary>
    public int Columns { get; }

    public IEnumerable<(string Name, Tensor Value)> State
    {
        get
        {
            if (_left is not null)
                yield return ($"projection_left.{_piece.Name}", _left.Detach());
            if (_right is not null)
                yield return ($"projection_right.{_piece.Name}", _right.Detach());
        }
    }

    /// <summary>Zeros of the masters' type, alive as long as the states.</summary>
    public Tensor Zeros(int rows, int columns)
    {
        using var scope = TensorScope.Enter();
        return TensorScope.Detach(_store.Zeros(_piece.Bucket.Values.DType, (long)rows * columns).View(rows, columns));
    }

    /// <summary>Takes the directions in which a gradient is largest: its first singular vectors, each turned so that its largest element is
    /// positive. A decomposition leaves their signs open, and what Adam remembers along them must not depend on the library.</summary>
    public void TakeLargest(Tensor gradient)
    {
        var (left, _, right) = gradient.Svd();
        _left?.CopyFrom(Turned(left.Narrow(1, 0, Rank), along: 0));
        _right?.CopyFrom(Turned(right.Narrow(0, 0, Rank), along: 1));
    }

    private static Tensor Turned(Tensor vectors, int along)
    {
        var (numbers, columns) = (vectors.ToArray<double>(), (int)vectors.Size(1));
        var largest = new double[vectors.Size(1 - along)];
        for (var i = 0; i < numbers.Length; i++)
        {
            ref var of = ref largest[along == 0 ? i % columns : i / columns];
            if (Math.Abs(numbers[i]) > Math.Abs(of))
                of = numbers[i];
        }
        var signs = Tensor.From([.. largest.Select(x => x < 0 ? -1.0 : 1.0)], along == 0 ? [1, largest.Length] : [largest.Length, 1]);
        return vectors * signs.To(vectors.DType).To(vectors.Device);
    }

    /// <summary>Takes other numbers as the directions, such as random ones.</summary>
    /// <param name="fill">Fills the sides that there are, row after row.</param>
    public void Take(Action<Tensor> fill)
    {
        if (_left is not null)
            fill(_left);
        if (_right is not null)
            fill(_right);
    }

    /// <summary>The projected gradient; [Rows, Columns].</summary>
    public Tensor Down(Tensor gradient)
    {
        var low = _left is null ? gradient : _left.T().Mm(gradient);
        return _right is null ? low : low.Mm(_right.T());
    }

    /// <summary>What a projected update is for the whole matrix; [M, N].</summary>
    public Tensor Up(Tensor low)
    {
        var high = _left is null ? low : _left.Mm(low);
        return _right is null ? high : high.Mm(_right);
    }
}
