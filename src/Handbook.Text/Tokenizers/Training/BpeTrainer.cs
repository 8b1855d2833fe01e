using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Text.Tokenizers.Patterns;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Text.Tokenizers.Training;

/// <summary>Learns a byte-level BPE tokenizer. Sennrich et al. 2016, arXiv:1508.07909; bytes as in Radford et al. 2019 (GPT-2).</summary>
/// <remarks>
/// Deterministic, whatever the number of threads or the order of texts: words are counted, and of equally frequent pairs the one with the
/// lower ids is merged first. Counts are kept up to date pair by pair, so that each merge costs only the words it touches.
/// </remarks>
public sealed class BpeTrainer
{
    private readonly List<string> _tokens = [];
    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private readonly List<(int Left, int Right)> _merges = [];
    private readonly Dictionary<long, PairCount> _pairs = [];
    private int[][] _words = [];
    private long[] _counts = [];

    private sealed class PairCount
    {
        public long Count;

        /// <summary>Words that may hold the pair; a word can stand here twice, or no longer hold it.</summary>
        public List<int> Words = [];
    }

    private BpeTrainer()
    {
    }

    /// <summary>Learns from texts; each is cut into words by itself.</summary>
    /// <exception cref="InputException">The options cannot be met.</exception>
    public static Tokenizer Train(IEnumerable<string> texts, BpeTrainerOptions options)
    {
        options.Validate();
        var trainer = new BpeTrainer();
        foreach (var token in options.AllSpecialTokens)
            trainer.AddToken(token);
        foreach (var point in Enumerable.Range(0, 256).Select(value => ByteAlphabet.PointOf((byte)value)).Order())
            trainer.AddToken(((char)point).ToString());
        trainer.Learn(CountWords(texts, options.Pattern), options);
        return TrainedTokenizer.Create(trainer._tokens, trainer._merges, options);
    }

    private int AddToken(string token)
    {
        if (_ids.TryGetValue(token, out var id))
            return id;
        _ids.Add(token, id = _tokens.Count);
        _tokens.Add(token);
        return id;
    }

    private static Dictionary<string, long> CountWords(IEnumerable<string> texts, SplitPattern pattern)
    {
        var scanner = pattern switch
        {
            SplitPattern.Llama3 => SplitScanner.Llama3,
            SplitPattern.Qwen2 => SplitScanner.Qwen2,
            _ => SplitScanner.Gpt2
        };
        var total = new Dictionary<string, long>(StringComparer.Ordinal);
        Parallel.ForEach(texts, () => new WordCounter(scanner), (text, _, counter) =>
        {
            counter.Count(text);
            return counter;
        }, counter =>
        {
            lock (total)
                foreach (var (word, count) in counter.Words)
                    total[word] = total.GetValueOrDefault(word) + count;
        });
        return total;
    }

    private void Learn(Dictionary<string, long> words, BpeTrainerOptions options)
    {
        _words = new int[words.Count][];
        _counts = new long[words.Count];
        var index = 0;
        foreach (var (word, count) in words)
        {
            _words[index] = [.. word.Select(character => _ids[character.ToString()])];
            _counts[index++] = count;
        }
        for (var word = 0; word < _words.Length; word++)
            for (var i = 0; i + 1 < _words[word].Length; i++)
                Change(_words[word][i], _words[word][i + 1], word, _counts[word]);

        var queue = new PriorityQueue<long, (long Count, long Pair)>();
        foreach (var (pair, found) in _pairs)
            queue.Enqueue(pair, (-found.Count, pair));
        while (_tokens.Count < options.VocabularySize && queue.TryDequeue(out var pair, out var priority))
        {
            var found = _pairs[pair];
            if (found.Count != -priority.Count)
            {
                if (found.Count > 0)
                    queue.Enqueue(pair, (-found.Count, pair));      // the count has changed since: look again in its new place
                continue;
            }
            if (found.Count < options.MinFrequency)
                break;
            var (left, right) = ((int)(pair >> 32), (int)pair);
            var id = AddToken(_tokens[left] + _tokens[right]);
            _merges.Add((left, right));
            foreach (var grown in Merge(found, left, right, id))
                if (_pairs[grown].Count > 0)
                    queue.Enqueue(grown, (-_pairs[grown].Count, grown));
        }
    }

    /// <summary>Merges a pair wherever it stands, and returns the pairs that this made more frequent.</summary>
    private HashSet<long> Merge(PairCount found, int left, int right, int id)
    {
        var grown = new HashSet<long>();
        var places = found.Words;
        found.Words = [];
        foreach (var index in places)
        {
            var word = _words[index];
            var count = _counts[index];
            var kept = 0;
            for (var i = 0; i < word.Length; i++)
            {
                if (i + 1 >= word.Length || word[i] != left || word[i + 1] != right)
                {
                    word[kept++] = word[i];
                    continue;
                }
                if (kept > 0)
                {
                    Change(word[kept - 1], left, index, -count);
                    grown.Add(Change(word[kept - 1], id, index, count));
                }
                Change(left, right, index, -count);
                if (i + 2 < word.Length)
                {
                    Change(right, word[i + 2], index, -count);
                    grown.Add(Change(id, word[i + 2], index, count));
                }
                word[kept++] = id;
                i++;
            }
            if (kept < word.Length)
                _words[index] = word[..kept];
        }
        return grown;
    }

    private long Change(int left, int right, int word, long count)
    {
        var pair = ((long)left << 32) | (uint)right;
        if (!_pairs.TryGetValue(pair, out var found))
            _pairs.Add(pair, found = new());
        found.Count += count;
        if (count > 0 && (found.Words.Count == 0 || found.Words[^1] != word))
            found.Words.Add(word);
        return pair;
    }

    /// <summary>Counts the words of some texts, written in the byte alphabet. Belongs to one thread.</summary>
    private sealed class WordCounter(SplitScanner scanner)
    {
        private readonly PieceList _pieces = new();
        private char[] _word = new char[64];

        public Dictionary<string, long> Words { get; } = new(StringComparer.Ordinal);

        public void Count(string text)
        {
            var find = Words.GetAlternateLookup<ReadOnlySpan<char>>();
            _pieces.Text.Load(text, tracked: false);
            _pieces.Pieces.Clear();
            if (_pieces.Text.Count > 0)
                _pieces.Pieces.Add(new(0, _pieces.Text.Count, -1));
            _pieces.Split(scanner, SplitBehavior.Isolated, invert: false);
            _pieces.Rewrite(ByteAlphabet.Append);
            foreach (var piece in _pieces.Pieces)
            {
                var length = piece.End - piece.Start;
                if (_word.Length < length)
                    _word = new char[length * 2];
                for (var i = 0; i < length; i++)
                    _word[i] = (char)_pieces.Text.Points[piece.Start + i];
                CollectionsMarshal.GetValueRefOrAddDefault(find, _word.AsSpan(0, length), out _)++;
            }
        }
    }
}
