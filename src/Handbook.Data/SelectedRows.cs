namespace Handbook.Data;

/// <summary>Some of a set's rows, in the order given.</summary>
/// <param name="rows">The set.</param>
/// <param name="numbers">Which of them.</param>
internal sealed class SelectedRows(ITokenRows rows, IReadOnlyList<int> numbers) : ITokenRows
{
    public int Count => numbers.Count;

    public int Length(int row) => rows.Length(numbers[row]);

    public int Characters(int row) => rows.Characters(numbers[row]);

    public TokenRow Read(int row) => rows.Read(numbers[row]);
}
