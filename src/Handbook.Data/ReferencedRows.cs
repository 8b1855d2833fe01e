namespace Handbook.Data;

/// <summary>Rows with the reference model's scores of their answers.</summary>
public sealed class ReferencedRows(ITokenRows rows, ReferenceScore[] scores) : ITokenRows
{
    public int Count => rows.Count;

    public int Length(int row) => rows.Length(row);

    public int Characters(int row) => rows.Characters(row);

    public TokenRow Read(int row) => rows.Read(row) with { Reference = scores[row] };
}
