
namespace Handbook.Data.Tests;

/// <summary>Makers of test rows.</summary>
internal static class Some
{
    /// <summary>Rows whose tokens all differ, so that a lost or doubled one shows; about one in four carries no loss.</summary>
    public static TokenRowList Rows(int seed, int count, int longest)
    {
        var random = new Random(seed);
        var next = 1;
        var rows = new List<TokenRow>();
        for (var i = 0; i < count; i++)
        {
            var length = random.Next(1, longest + 1);
            var ids = Enumerable.Range(next, length).ToArray();
            next += length;
            rows.Add(TokenRow.Single(ids, [.. ids.Select(_ => (byte)(random.Next(4) == 0 ? 0 : 1))], characters: length * 4));
        }
        return new(rows);
    }

    public static TokenRowList RowsOf(params int[][] ids) =>
        new([.. ids.Select(row => TokenRow.Single(row, [.. row.Select(_ => (byte)1)], row.Length))]);

    public static int[] Ids(TokenRow row) => [.. row.Segments.SelectMany(segment => segment.Ids.ToArray())];

    public static int[][] AllIds(ITokenRows rows) => [.. Enumerable.Range(0, rows.Count).Select(i => Ids(rows.Read(i)))];
}
