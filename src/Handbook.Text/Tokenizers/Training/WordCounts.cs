using System.Runtime.InteropServices;
using Handbook.Text.Tokenizers.Normalizers;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Text.Tokenizers.Training;

/// <summary>Counts the words that texts consist of once they are normalized and cut.</summary>
internal static class WordCounts
{
    /// <summary>Every word with its count, most frequent first and then by its code units: in an order that no thread decides.</summary>
    public static IReadOnlyList<KeyValuePair<string, long>> Of(IEnumerable<string> texts, Normalizer? normalizer, PreTokenizer preTokenizer)
    {
        var total = new Dictionary<string, long>(StringComparer.Ordinal);
        Parallel.ForEach(texts, () => new Counter(normalizer, preTokenizer), (text, _, counter) =>
        {
            counter.Count(text);
            return counter;
        }, counter =>
        {
            lock (total)
                foreach (var (word, count) in counter.Words)
                    total[word] = total.GetValueOrDefault(word) + count;
        });
        return [.. total.OrderByDescending(word => word.Value).ThenBy(word => word.Key, StringComparer.Ordinal)];
    }

    /// <summary>Belongs to one thread.</summary>
    private sealed class Counter(Normalizer? normalizer, PreTokenizer preTokenizer)
    {
        private readonly PieceList _pieces = new();
        private readonly TextBuffer _spare = new();
        private char[] _word = new char[64];

        public Dictionary<string, long> Words { get; } = new(StringComparer.Ordinal);

        public void Count(string text)
        {
            var find = Words.GetAlternateLookup<ReadOnlySpan<char>>();
            _pieces.Text.Load(text, tracked: preTokenizer.NeedsPlaces);
            if (normalizer is not null && normalizer.Apply(_pieces.Text, _spare) is var result && !ReferenceEquals(result, _pieces.Text))
            {
                _pieces.Text.BeginFrom(result);
                _pieces.Text.Append(result, 0, result.Count);
            }
            _pieces.Pieces.Clear();
            if (_pieces.Text.Count > 0)
                _pieces.Pieces.Add(new(0, _pieces.Text.Count, -1));
            preTokenizer.Apply(_pieces);
            foreach (var piece in _pieces.Pieces)
            {
                if (_word.Length < (piece.End - piece.Start) * 2)
                    _word = new char[(piece.End - piece.Start) * 4];
                var length = 0;
                foreach (var point in _pieces.Text.Text[piece.Start..piece.End])
                    length += new System.Text.Rune(point).EncodeToUtf16(_word.AsSpan(length));
                CollectionsMarshal.GetValueRefOrAddDefault(find, _word.AsSpan(0, length), out _)++;
            }
        }
    }
}
