namespace Handbook.Data;

/// <summary>Rows with the reference model's scores of their answers.</summary>
/// <param name="rows">The rows.</param>
/// <param name="scores">The score of each row; null where it was not asked for, because the run does not come to that row.</param>
internal sealed class ReferencedRows(ITokenRows rows, IReadOnlyList<ReferenceScore?> scores) : ITokenRows
{
    public int Count => rows.Count;

    public int Length(int row) => rows.Length(row);

    public int Characters(int row) => rows.Characters(row);

    public TokenRow Read(int row) => rows.Read(row) with { Reference = scores[row] };
}
