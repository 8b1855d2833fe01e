using System.Text;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Text.Tokenizers.Formats;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Text.Tokenizers.Training;

/// <summary>What a new unigram tokenizer should be: special tokens, characters, and pieces with their probabilities.</summary>
public sealed record UnigramTrainerOptions : TrainerOptions
{
    /// <summary>The token of unknown characters.</summary>
    public string UnkToken { get; init; } = "<unk>";

    /// <summary>The share of the pieces that each round keeps.</summary>
    public double ShrinkingFactor { get; init; } = 0.75;

    /// <summary>How often probabilities are estimated in each round.</summary>
    public int SubIterations { get; init; } = 2;

    /// <summary>The longest piece, in code points.</summary>
    public int MaxPieceLength { get; init; } = 16;

    /// <summary>How many pieces the first round begins with.</summary>
    public int SeedSize { get; init; } = 1_000_000;

    internal override IEnumerable<(string Role, string? Token)> Names => [("unk_token", UnkToken), .. base.Names];

    /// <inheritdoc/>
    public override Tokenizer Train(IEnumerable<string> texts) => UnigramTrainer.Train(texts, this);

    internal void Validate()
    {
        if (ShrinkingFactor is not (> 0 and < 1))
            throw new InputException($"shrinking factor is {ShrinkingFactor}, but must be between 0 and 1", fix: "use 0.75");
        foreach (var (name, value) in new[] { ("sub iterations", SubIterations), ("max piece length", MaxPieceLength),
            ("seed size", SeedSize) })
            if (value < 1)
                throw new InputException($"{name} is {value}, but must be at least 1");
    }
}

/// <summary>Learns a unigram tokenizer: from many frequent substrings those are kept without which the texts would become least likely.
/// Kudo 2018, arXiv:1804.10959, §3.2, in the form of the Rust library.</summary>
/// <remarks>
/// <code>
/// E: expected count of each piece over all segmentations      M: score = ψ(count) − ψ(Σ count), pieces below ½ go
/// prune: loss of a piece = share · ( log p(piece) − Σ log p(its best replacement) ); the worst quarter goes
/// </code>
/// ψ is the digamma function: a Bayesian estimate, which makes rare pieces rarer. Deterministic: words are counted, and sorted.
/// </remarks>
public static class UnigramTrainer
{
    private const double LeastCount = 0.5, Room = 1.1;

    /// <summary>Learns from texts.</summary>
    /// <exception cref="InputException">The options cannot be met.</exception>
    public static Tokenizer Train(IEnumerable<string> texts, UnigramTrainerOptions options)
    {
        options.Validate();
        var json = Pipeline(options);
        var normalizer = NormalizerReader.Read(Node(json.Normalizer!));
        var words = WordCounts.Of(texts, normalizer, PreTokenizerReader.Read(Node(json.PreTokenizer!)))
            .Select(word => (Points: CodePoints.Of(word.Key), word.Value)).ToArray();
        var learned = Learn(words, options);
        var special = options.AllSpecialTokens;
        return TrainedTokenizer.Create(json with
        {
            Model = TokenizerJson.Unigram([.. special.Select(token => (token, 0.0)), .. learned],
                Array.IndexOf(special, options.UnkToken), byteFallback: false),
        }, options);
    }

    /// <summary>Pieces with their scores, best first.</summary>
    internal static List<(string Piece, double Score)> Learn((int[] Points, long Count)[] words, UnigramTrainerOptions options)
    {
        var characters = words.SelectMany(word => word.Points).Distinct().Order().ToArray();
        options.Validate("characters", characters.Length);
        var room = (int)(options.VocabularySize * Room);
        List<(int[] Points, double Score)> pieces = [([], double.NaN), .. Seeds(words, options)];
        while (true)
        {
            for (var i = 0; i < options.SubIterations; i++)
                pieces = Maximised(pieces, Expected(pieces, words));
            if (pieces.Count <= room)
                break;
            pieces = Pruned(pieces, words, Math.Max(room, (int)(pieces.Count * options.ShrinkingFactor)));
        }
        return Finished(pieces, characters, options.VocabularySize - options.AllSpecialTokens.Length);
    }

    /// <summary>All characters, and the repeated substrings that cover the most text.</summary>
    private static IEnumerable<(int[] Points, double Score)> Seeds((int[] Points, long Count)[] words, UnigramTrainerOptions options)
    {
        var counts = new Dictionary<int, long>();
        foreach (var (points, count) in words)
            foreach (var point in points)
                counts[point] = counts.GetValueOrDefault(point) + count;
        var (text, found) = RepeatedSubstrings.Of([.. words.Select(word => word.Points)], options.MaxPieceLength);
        // Of equals the later one in the alphabet comes first.
        found.Sort((a, b) => (b.Length * (long)b.Count).CompareTo(a.Length * (long)a.Count) is not 0 and var order ? order
            : text.AsSpan(b.Start, b.Length).SequenceCompareTo(text.AsSpan(a.Start, a.Length)));
        List<(int[] Points, double Weight)> seeds = [
            .. counts.OrderByDescending(pair => pair.Value).ThenByDescending(pair => pair.Key).Select(pair => ((int[])[pair.Key], (double)pair.Value)),
            .. found.Take(Math.Max(0, options.SeedSize - counts.Count))
                .Select(one => (text.AsSpan(one.Start, one.Length).ToArray(), (double)one.Length * one.Count))];
        var sum = Math.Log(seeds.Sum(seed => seed.Weight));
        return seeds.Select(seed => (seed.Points, Math.Log(seed.Weight) - sum));
    }

    /// <summary>The E step.</summary>
    private static double[] Expected(List<(int[] Points, double Score)> pieces, (int[] Points, long Count)[] words)
    {
        var lattice = new UnigramLattice(pieces);
        var expected = new double[pieces.Count];
        foreach (var (points, count) in words)
            lattice.AddExpected(points, count, expected);
        return expected;
    }

    /// <summary>The M step.</summary>
    private static List<(int[] Points, double Score)> Maximised(List<(int[] Points, double Score)> pieces, double[] expected)
    {
        var kept = Enumerable.Range(1, pieces.Count - 1).Where(id => expected[id] >= LeastCount).ToArray();
        var sum = Digamma(kept.Sum(id => expected[id]));
        return [pieces[0], .. kept.Select(id => (pieces[id].Points, Digamma(expected[id]) - sum))];
    }

    private static List<(int[] Points, double Score)> Pruned(List<(int[] Points, double Score)> pieces, (int[] Points, long Count)[] words,
        int size)
    {
        var lattice = new UnigramLattice(pieces);
        var (counts, total) = (new double[pieces.Count], 0.0);
        foreach (var (points, count) in words)
        {
            total += count;
            foreach (var piece in lattice.Best(points))
                counts[piece] += count;
        }
        var sum = counts.Sum();
        List<(int[] Points, double Score)> kept = [pieces[0]];
        var candidates = new List<(int Id, double Loss)>();
        for (var id = 1; id < pieces.Count; id++)
        {
            var isBest = lattice.Best(pieces[id].Points) is [var only] && only == id;
            var others = isBest && pieces[id].Points.Length > 1 ? lattice.Best(pieces[id].Points, without: id) : [];
            // A character stays; and what no word is made of goes.
            if (counts[id] == 0 && !(isBest && others.Count == 0))
                continue;
            if (others.Count == 0)
            {
                kept.Add(pieces[id]);
                continue;
            }
            // Without it, its replacement stands wherever it stood.
            var afterwards = Math.Log(sum + counts[id] * (others.Count - 1));
            var replaced = others.Sum(other => Math.Log(counts[other] + counts[id]) - afterwards);
            candidates.Add((id, counts[id] / total * (Math.Log(counts[id]) - Math.Log(sum) - replaced)));
        }
        kept.AddRange(candidates.OrderByDescending(candidate => candidate.Loss).Take(Math.Max(0, size - kept.Count))
            .Select(candidate => pieces[candidate.Id]));
        return kept;
    }

    /// <summary>Every character, and of the others as many as there is room for; best first.</summary>
    private static List<(string Piece, double Score)> Finished(List<(int[] Points, double Score)> pieces, int[] characters, int size)
    {
        var known = pieces.Skip(1).Select(piece => (Text: CodePoints.ToText(piece.Points), piece.Score)).ToArray();
        var scores = known.ToDictionary(piece => piece.Text, piece => piece.Score, StringComparer.Ordinal);
        var (least, more) = (known.Length == 0 ? 0 : known.Min(piece => piece.Score), 0.0);
        var chosen = new Dictionary<string, double>(StringComparer.Ordinal);
        foreach (var character in characters.Select(point => new Rune(point).ToString()))
        {
            if (!scores.TryGetValue(character, out var score))
            {
                score = least + more;
                more += 0.0001;
            }
            chosen[character] = score;
        }
        foreach (var (text, score) in known)
            if (chosen.Count < size)
                chosen.TryAdd(text, score);
        return [.. chosen.OrderByDescending(pair => pair.Value).ThenBy(pair => pair.Key, StringComparer.Ordinal)
            .Select(pair => (pair.Key, pair.Value))];
    }

    /// <summary>ψ(x) for x &gt; 0, by its series for large x.</summary>
    private static double Digamma(double x)
    {
        var result = 0.0;
        for (; x < 7; x++)
            result -= 1 / x;
        x -= 0.5;
        var square = 1 / x / x;
        var fourth = square * square;
        return result + Math.Log(x) + square / 24 - 7.0 / 960 * fourth + 31.0 / 8064 * fourth * square - 127.0 / 30720 * fourth * fourth;
    }

    private static TokenizerJson Pipeline(UnigramTrainerOptions options) => new()
    {
        AddedTokens = TrainedTokenizer.Added(options),
        Normalizer = TokenizerJson.Sequence("normalizers", new JsonObject { ["type"] = "Nmt" }, new JsonObject { ["type"] = "NFKC" },
            TokenizerJson.ReplaceRegex(" {2,}", " ")),
        PreTokenizer = TokenizerJson.Metaspace("always"),
        PostProcessor = TrainedTokenizer.PostProcessor(options),
        Decoder = TokenizerJson.Metaspace("always"),
        Model = _ => { },
    };

    private static ConfigNode Node(JsonObject part) =>
        new(System.Text.Json.JsonSerializer.SerializeToElement(part), "tokenizer.json");
}
