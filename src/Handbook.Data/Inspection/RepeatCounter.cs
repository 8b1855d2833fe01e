using System.Security.Cryptography;
using System.Text;

namespace Handbook.Data.Inspection;

/// <summary>Counts texts that were there before. Beyond two million different ones, those of every second, fourth, … hash stand for all, so
/// that memory stays bounded.</summary>
internal sealed class RepeatCounter(int most = 1 << 21)
{
    private const int Examples = 3;

    private readonly Dictionary<ulong, long> _first = [];
    private readonly List<string> _examples = [];
    private ulong _mask;
    private long _repeats;

    /// <summary>How many were added.</summary>
    public long Count { get; private set; }

    /// <summary>Whether <see cref="Repeats"/> is an estimate.</summary>
    public bool IsEstimate => _mask > 0;

    /// <summary>How many repeat an earlier one.</summary>
    public long Repeats => _repeats * (long)(_mask + 1);

    /// <summary>Some of them: the rows of both.</summary>
    public IReadOnlyList<string> Found => _examples;

    /// <param name="text">The text.</param>
    /// <param name="row">Number of its row, from 1.</param>
    public void Add(string text, long row) => Add(Encoding.UTF8.GetBytes(text), row);

    /// <inheritdoc cref="Add(string, long)"/>
    public void Add(ReadOnlySpan<byte> text, long row)
    {
        Count++;
        Span<byte> digest = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(text, digest);
        var hash = BitConverter.ToUInt64(digest);
        if ((hash & _mask) != 0)
            return;
        if (!_first.TryAdd(hash, row))
        {
            _repeats++;
            if (_examples.Count < Examples)
                _examples.Add($"rows {_first[hash]:N0} and {row:N0}");
        }
        else if (_first.Count > most)
        {
            _mask = (_mask << 1) | 1;
            _repeats /= 2;
            foreach (var other in _first.Keys.Where(other => (other & _mask) != 0).ToArray())
                _first.Remove(other);
        }
    }
}
