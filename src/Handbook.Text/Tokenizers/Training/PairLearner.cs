namespace Handbook.Text.Tokenizers.Training;

/// <summary>Learns tokens by merging the most frequent pair again and again. Sennrich et al. 2016, arXiv:1508.07909.</summary>
/// <remarks>Of equally frequent pairs the one with the lower ids is merged first. Counts are kept up to date pair by pair, so that each merge
/// costs only the words it touches.</remarks>
/// <param name="prefix">What continuations carry, and lose where they are joined to what stands before them; empty for nothing.</param>
internal sealed class PairLearner(string prefix = "")
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

    /// <summary>Tokens in the order of their ids.</summary>
    public List<string> Tokens => _tokens;

    /// <summary>Pairs in the order in which they were merged.</summary>
    public List<(int Left, int Right)> Merges => _merges;

    /// <summary>The id of a token, which is added where it is new.</summary>
    public int Add(string token)
    {
        if (_ids.TryGetValue(token, out var id))
            return id;
        _ids.Add(token, id = _tokens.Count);
        _tokens.Add(token);
        return id;
    }

    /// <summary>Merges until there are enough tokens, or no pair is frequent enough.</summary>
    /// <param name="words">Each word as the ids of its symbols, and how often it occurs.</param>
    /// <param name="size">Number of tokens in all.</param>
    /// <param name="minFrequency">A pair must occur so often to become a token.</param>
    public void Learn(IEnumerable<(int[] Symbols, long Count)> words, int size, int minFrequency)
    {
        var all = words.ToArray();
        _words = [.. all.Select(word => word.Symbols)];
        _counts = [.. all.Select(word => word.Count)];
        for (var word = 0; word < _words.Length; word++)
            for (var i = 0; i + 1 < _words[word].Length; i++)
                Change(_words[word][i], _words[word][i + 1], word, _counts[word]);

        var queue = new PriorityQueue<long, (long Count, long Pair)>();
        foreach (var (pair, found) in _pairs)
            queue.Enqueue(pair, (-found.Count, pair));
        while (_tokens.Count < size && queue.TryDequeue(out var pair, out var priority))
        {
            var found = _pairs[pair];
            if (found.Count != -priority.Count)
            {
                if (found.Count > 0)
                    queue.Enqueue(pair, (-found.Count, pair));      // the count has changed since: look again in its new place
                continue;
            }
            if (found.Count < minFrequency)
                break;
            var (left, right) = ((int)(pair >> 32), (int)pair);
            var id = Add(Joined(_tokens[left], _tokens[right]));
            _merges.Add((left, right));
            foreach (var grown in Merge(found, left, right, id))
                if (_pairs[grown].Count > 0)
                    queue.Enqueue(grown, (-_pairs[grown].Count, grown));
        }
    }

    private string Joined(string left, string right) =>
        left + (prefix.Length > 0 && right.StartsWith(prefix, StringComparison.Ordinal) ? right[prefix.Length..] : right);

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
}
