using Handbook.Data.Cache;
using Handbook.Data.Sources;

namespace Handbook.Data.Mixing;

/// <summary>Rows of several stores in one order. Rows of the order that could not be used are left out.</summary>
internal sealed class OrderedRows : ITokenRows
{
    /// <summary>Where a source's row gives several, e.g. one for each answer of a pair, the first of so many come together, then the
    /// second, as in the batches of the reference's <c>map</c>: neighbours then have different prompts.</summary>
    private const int BlockSize = 1000;

    private readonly IReadOnlyList<TokenStore> _stores;
    private readonly List<RowRef> _order;

    /// <param name="stores">The stores of the order's sources.</param>
    /// <param name="order">Rows by their number in the source, unusable rows counted.</param>
    public OrderedRows(IReadOnlyList<TokenStore> stores, IReadOnlyList<RowRef> order)
    {
        _stores = stores;
        _order = new(order.Count);
        var places = new Dictionary<long, int>?[stores.Count];
        var block = new List<(RowRef First, int Count)>();
        for (var start = 0; start < order.Count; start += BlockSize)
        {
            block.Clear();
            for (var i = start; i < Math.Min(start + BlockSize, order.Count); i++)
                if (Find(order[i], places) is { Count: > 0 } found)
                    block.Add(found);
            var most = block.Count == 0 ? 0 : block.Max(row => row.Count);
            for (var k = 0; k < most; k++)
                foreach (var (first, count) in block)
                    if (k < count)
                        _order.Add(first with { Row = first.Row + k });
        }
    }

    public int Count => _order.Count;

    public int Length(int row) => _stores[_order[row].Source].Length(_order[row].Row);

    public int Characters(int row) => _stores[_order[row].Source].Characters(_order[row].Row);

    public TokenRow Read(int row) => _stores[_order[row].Source].Read(_order[row].Row);

    /// <summary>Where a row comes from: the number of its source, and its own number there, unusable rows counted.</summary>
    public (int Source, long Row) Origin(int row) => (_order[row].Source, _stores[_order[row].Source].SourceRow(_order[row].Row));

    /// <summary>The row as it stands in its file, with the number of its source; for rows that are kept beside their tokens.</summary>
    public (int Source, SourceRow Row) Source(int row) =>
        (_order[row].Source, _stores[_order[row].Source].Source(_order[row].Row));

    /// <summary>Where in its store the rows begin that a source's row gave, and how many they are.</summary>
    private (RowRef First, int Count) Find(RowRef row, Dictionary<long, int>?[] places)
    {
        var store = _stores[row.Source];
        // Most stores hold every row, each at its own number.
        var place = row.Row;
        if (!(place < store.Count && store.SourceRow(place) == row.Row && (place == 0 || store.SourceRow(place - 1) != row.Row))
            && !(places[row.Source] ??= Places(store)).TryGetValue(row.Row, out place))
            return default;
        var count = 1;
        while (place + count < store.Count && store.SourceRow(place + count) == row.Row)
            count++;
        return (new(row.Source, place), count);
    }

    /// <summary>The first row of each row of the source.</summary>
    private static Dictionary<long, int> Places(TokenStore store)
    {
        var places = new Dictionary<long, int>(store.Count);
        for (var i = 0; i < store.Count; i++)
            places.TryAdd(store.SourceRow(i), i);
        return places;
    }
}
