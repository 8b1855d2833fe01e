using System.Numerics;

namespace Handbook.Text.Tokenizers.Models;

/// <summary>Pair of ids → rank and result of their merge: open addressing, one probe in the common case.</summary>
internal sealed class MergeTable
{
    private readonly (ulong Key, int Rank, int Id)[] _slots;        // key: pair + 1, so that 0 is empty
    private readonly int _mask;
    private readonly int _shift;

    public MergeTable(int capacity)
    {
        var size = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(16, capacity * 2));
        _slots = new (ulong, int, int)[size];
        _mask = size - 1;
        _shift = 64 - BitOperations.Log2((uint)size);
    }

    /// <summary>Adds a merge; a later one of the same pair wins.</summary>
    public void Add(int left, int right, int rank, int id)
    {
        var key = Key(left, right);
        var slot = Slot(key);
        while (_slots[slot].Key != 0 && _slots[slot].Key != key)
            slot = (slot + 1) & _mask;
        _slots[slot] = (key, rank, id);
    }

    /// <summary>Rank and id of the merge of a pair; rank <see cref="int.MaxValue"/> where there is none.</summary>
    public (int Rank, int Id) Find(int left, int right)
    {
        var key = Key(left, right);
        var slot = Slot(key);
        while (true)
        {
            ref readonly var found = ref _slots[slot];
            if (found.Key == key)
                return (found.Rank, found.Id);
            if (found.Key == 0)
                return (int.MaxValue, -1);
            slot = (slot + 1) & _mask;
        }
    }

    private static ulong Key(int left, int right) => (((ulong)(uint)left << 32) | (uint)right) + 1;

    private int Slot(ulong key) => (int)((key * 0x9E3779B97F4A7C15) >> _shift);
}
