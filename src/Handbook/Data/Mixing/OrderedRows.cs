namespace Handbook.Data;

/// <summary>Rows of several stores in one order. Rows of the order that could not be used are left out.</summary>
internal sealed class OrderedRows : ITokenRows
{
    private readonly IReadOnlyList<TokenStore> _stores;
    private readonly List<RowRef> _order;

    /// <param name="stores">The stores of the order's sources.</param>
    /// <param name="order">Rows by their number in the source, unusable rows counted.</param>
    public OrderedRows(IReadOnlyList<TokenStore> stores, IReadOnlyList<RowRef> order)
    {
        _stores = stores;
        _order = new(order.Count);
        var places = new Dictionary<long, int>?[stores.Count];
        foreach (var row in order)
        {
            var store = stores[row.Source];
            // Most stores hold every row, each at its own number.
            if (row.Row < store.Count && store.SourceRow(row.Row) == row.Row)
                _order.Add(row);
            else if ((places[row.Source] ??= Places(store)).TryGetValue(row.Row, out var place))
                _order.Add(new(row.Source, place));
        }
    }

    public int Count => _order.Count;

    public int Length(int row) => _stores[_order[row].Source].Length(_order[row].Row);

    public int Characters(int row) => _stores[_order[row].Source].Characters(_order[row].Row);

    public TokenRow Read(int row) => _stores[_order[row].Source].Read(_order[row].Row);

    private static Dictionary<long, int> Places(TokenStore store)
    {
        var places = new Dictionary<long, int>(store.Count);
        for (var i = 0; i < store.Count; i++)
            places[store.SourceRow(i)] = i;
        return places;
    }
}
