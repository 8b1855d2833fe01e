namespace Handbook.Models;

/// <summary>One parameter of the decoder: our name for it, its shape, and where its values stand in a published checkpoint.</summary>
/// <remarks>
/// Our names, with i the layer (a bias stands beside its weight under <c>.bias</c>; linear weights are [out, in]):
/// <code>
/// embed.weight [V, D]        positions.weight [P, D]       embed_norm.weight [D], where embeddings have a norm
/// where tables have a width T of their own: embed.weight [V, T], project_in.weight [D, T], project_out.weight [T, D], head.weight [V, T]
/// layers.i.attention_norm.weight [D]; layers.i.attention_output_norm.weight where a norm stands behind attention
/// layers.i.attention.query.weight [H·E, D]   .key.weight [K·E, D]   .value.weight [K·E, D]   .output.weight [D, H·E]
/// layers.i.attention.query_norm.weight   .key_norm.weight, where queries and keys have norms; [E], [heads·E] or [heads, E]
/// layers.i.attention.sinks [H], where each head has a score without a value
/// layers.i.mlp_norm.weight [D]; layers.i.mlp_output_norm.weight
/// layers.i.mlp.gate.weight [F, D]   .up.weight [F, D]   .down.weight [D, F]
/// latent attention, instead of the first three: .query_down.weight [Q, D] .query_down_norm.weight [Q] .query.weight [H·E, Q], or .query.weight
/// [H·E, D] alone; .key_value_down.weight [R + rotary, D] .key_value_norm.weight [R] .key_value.weight [H·(E − rotary + V), R]
/// with experts: layers.i.mlp.router.weight [E, D]   .router.correction [E] where choices are corrected; the three above under
/// layers.i.mlp.experts.e, and under layers.i.mlp.shared where all tokens visit one more;   .shared_gate.weight [1, D]
/// final_norm.weight [D]      head.weight [V, D], absent where the head is tied; score.weight [1, D] in its place in a reward model
/// </code>
/// Fused, one product replaces several: <c>attention.query_key_value</c> [(H+2K)·E, D], rows in that order, and <c>mlp.gate_up</c> [2F, D].
/// </remarks>
/// <param name="Name">Our name.</param>
/// <param name="Shape">Our shape.</param>
/// <param name="Parts">The published tensors it consists of, in the order of our rows.</param>
/// <param name="Kind">What it is, which decides on weight decay and on how a new one begins.</param>
/// <param name="InitStd">Standard deviation of a new one where <paramref name="Kind"/> draws from a normal distribution.</param>
internal sealed record ParameterSpec(string Name, ValueList<long> Shape, ValueList<ParameterPart> Parts, ParameterKind Kind, double InitStd)
{
    public long Count
    {
        get
        {
            var count = 1L;
            foreach (var size in Shape)
                count = checked(count * size);
            return count;
        }
    }

    /// <summary>The published matrices or vectors that it consists of: name, first row, rows. A slice of a published one has its first row
    /// there behind the name.</summary>
    public IEnumerable<(string Name, long Start, long Rows)> Pieces => Parts.Select(part => ((part.IsStacked
        ? $"{part.Published}:{part.Matrix}" : part.ColumnStep > 1 ? $"{part.Published}:{part.ColumnStart}" : part.Published)
        + (IsWhole(part) ? "" : $":{part.PublishedStart}"), part.Start, part.Rows));

    private static bool IsWhole(ParameterPart part) => part.MatrixRows is var rows && (rows == part.Rows || rows == 0);

    /// <summary>The name of the token embedding.</summary>
    internal const string Embedding = "embed.weight";

    /// <summary>The name of the head; of a tied one, the name under which adapters know it.</summary>
    internal const string Head = "head.weight";

    /// <summary>The name of the table of learned positions.</summary>
    internal const string Positions = "positions.weight";

    /// <summary>The names of the projections between tables of tokens and the residual stream.</summary>
    internal const string ProjectIn = Projection + "in.weight", ProjectOut = Projection + "out.weight", Projection = "project_";

    /// <summary>Whether products with it have full precision whatever others have: few outputs, of which a rounded one
    /// would change what follows.</summary>
    public bool IsExact => Name == "score.weight" || Name.EndsWith(".router.weight", StringComparison.Ordinal);

    /// <summary>Whether it is looked up in: tokens, or learned positions; the model's own, or an adapter's in their place.</summary>
    public bool IsTable => ((string[])[Embedding, Positions]).Any(table => Name == table
        || Name.StartsWith(table + ".", StringComparison.Ordinal));

    /// <summary>Norms and biases are left out of weight decay, as in the reference trainer.</summary>
    public bool NoWeightDecay => Kind is ParameterKind.NormWeight or ParameterKind.Bias or ParameterKind.Buffer;

    /// <summary>Whether it is one matrix of a published tensor that stacks those of all experts, which is no layer of its own
    /// there.</summary>
    public bool IsStacked => Parts.Any(part => part.IsStacked);
}

/// <summary>Some rows of one of our parameters, and the published tensor that holds them.</summary>
/// <param name="Published">The tensor's published name.</param>
/// <param name="PublishedShape">The whole tensor's published shape.</param>
/// <param name="PublishedStart">Where these rows begin in the published tensor, counted along our rows.</param>
/// <param name="Start">Where they begin in our parameter.</param>
/// <param name="Rows">How many rows; a vector's elements are its rows.</param>
/// <param name="Transposed">The published tensor is [in, out] (GPT-2's Conv1D) where ours is [out, in]; our rows are its columns.</param>
internal sealed record ParameterPart(string Published, ValueList<long> PublishedShape, long PublishedStart, long Start,
    long Rows, bool Transposed)
{
    /// <summary>Whether the published tensor stacks matrices, or vectors, of which these rows are in one: its first size counts
    /// them.</summary>
    public bool IsStacked { get; init; }

    /// <summary>Which of them.</summary>
    public long Matrix { get; init; }

    /// <summary>Published rows from one of ours to the next: 2 where the rows of two of ours take turns.</summary>
    public long Step { get; init; } = 1;

    /// <summary>Published columns from one of ours to the next: above 1 where the columns of several of ours take turns.</summary>
    public long ColumnStep { get; init; } = 1;

    /// <summary>The first of our columns there.</summary>
    public long ColumnStart { get; init; }

    /// <summary>Shape of the published matrix or vector.</summary>
    public ValueList<long> MatrixShape => IsStacked ? [.. PublishedShape.Skip(1)] : PublishedShape;

    /// <summary>Rows of the published matrix, counted along ours.</summary>
    public long MatrixRows => MatrixShape.ElementAtOrDefault(Transposed ? 1 : 0);

    /// <summary>Elements of the published tensor before the matrix.</summary>
    public long Offset
    {
        get
        {
            var offset = Matrix;
            foreach (var size in MatrixShape)
                offset = checked(offset * size);
            return IsStacked ? offset : 0;
        }
    }

    /// <summary>Whether it is the whole published matrix, row by row as it stands there.</summary>
    public bool IsAsPublished => !Transposed && Step == 1 && ColumnStep == 1 && MatrixRows == Rows;
}

internal enum ParameterKind
{
    /// <summary>A matrix; new ones are drawn from a normal distribution.</summary>
    Weight,

    /// <summary>An embedding; new ones are drawn from a normal distribution.</summary>
    Embedding,

    /// <summary>New ones are 1, or 0 where the stored weight is an offset from 1.</summary>
    NormWeight,

    /// <summary>New ones are 0.</summary>
    Bias,

    /// <summary>Numbers that a kernel reads one by one; new ones are drawn from a normal distribution.</summary>
    Vector,

    /// <summary>Numbers that nothing trains; new ones are 0.</summary>
    Buffer,
}
