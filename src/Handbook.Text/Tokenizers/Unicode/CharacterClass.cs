namespace Handbook.Text.Tokenizers.Unicode;

/// <summary>A set of code points, decided by a predicate and remembered in pages of 256 bits as they are first asked for.</summary>
internal sealed class CharacterClass(Func<int, bool> contains)
{
    private readonly ulong[]?[] _pages = new ulong[0x1100][];

    public bool Contains(int point)
    {
        var page = _pages[point >> 8] ?? Fill(point >> 8);
        return (page[(point >> 6) & 3] >> point & 1) != 0;
    }

    private ulong[] Fill(int number)
    {
        var page = new ulong[4];
        for (var i = 0; i < 256; i++)
            if (contains((number << 8) + i))
                page[i >> 6] |= 1UL << i;
        return _pages[number] = page;       // two threads may fill the same page; both write the same bits
    }
}
