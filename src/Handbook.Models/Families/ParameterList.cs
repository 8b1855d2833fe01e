namespace Handbook.Models.Families;

/// <summary>Writes a family's parameters down, one line each; shapes are ours, [out, in].</summary>
/// <param name="std">Standard deviation of a new matrix.</param>
internal sealed class ParameterList(double std)
{
    private readonly List<ParameterSpec> _specs = [];

    public IReadOnlyList<ParameterSpec> Specs => _specs;

    /// <summary>Linear weights are published [in, out].</summary>
    public bool Transposed { get; init; }

    public void Embedding(string our, string published, int rows, int columns) =>
        _specs.Add(new(our + ".weight", [rows, columns], [Whole(published, rows, columns, transposed: false)],
            ParameterKind.Embedding, std));

    public void Norm(string our, string published, int size, bool bias = false)
    {
        _specs.Add(new(our + ".weight", [size], [Vector(published + ".weight", size)], ParameterKind.NormWeight, 0));
        if (bias)
            AddBias(our, [Vector(published + ".bias", size)], size);
    }

    public void Linear(string our, string published, int rows, int columns, bool bias, double? initStd = null)
    {
        _specs.Add(new(our + ".weight", [rows, columns], [Whole(published + ".weight", rows, columns, Transposed)],
            ParameterKind.Weight, initStd ?? std));
        if (bias)
            AddBias(our, [Vector(published + ".bias", rows)], rows);
    }

    /// <summary>A gated feed-forward layer that is published as three linear layers.</summary>
    /// <param name="published">Prefix of their names.</param>
    /// <param name="fused">Gate and up as one.</param>
    public void GatedMlp(string our, string published, (string Gate, string Up, string Down) names, DecoderConfig config, bool fused)
    {
        var (d, f) = (config.HiddenSize, config.IntermediateSize);
        if (fused)
            Fused(our + ".gate_up", [("gate", published + names.Gate, f), ("up", published + names.Up, f)], d, config.MlpBias);
        else
        {
            Linear(our + ".gate", published + names.Gate, f, d, config.MlpBias);
            Linear(our + ".up", published + names.Up, f, d, config.MlpBias);
        }
        Linear(our + ".down", published + names.Down, d, f, config.MlpBias);
    }

    /// <summary>The head that the config names; a tied one is no parameter of its own.</summary>
    public void Head(DecoderConfig config, string published)
    {
        if (config.Head == ModelHead.Score)
            _specs.Add(new("score.weight", [1, config.HiddenSize], [Whole(Family.ScoreName, 1, config.HiddenSize, transposed: false)],
                ParameterKind.Weight, config.InitializerRange));
        else if (!config.TiedHead)
            Embedding("head", published, config.VocabularySize, config.HiddenSize);
    }

    /// <summary>Several published linear layers as one of ours, below one another.</summary>
    public void Fused(string our, ReadOnlySpan<(string Our, string Published, int Rows)> layers, int columns, bool bias)
    {
        var weights = new List<ParameterPart>();
        var biases = new List<ParameterPart>();
        var start = 0L;
        foreach (var (_, published, rows) in layers)
        {
            weights.Add(Whole(published + ".weight", rows, columns, Transposed) with { Start = start });
            biases.Add(Vector(published + ".bias", rows) with { Start = start });
            start += rows;
        }
        _specs.Add(new(our + ".weight", [start, columns], [.. weights], ParameterKind.Weight, std));
        if (bias)
            AddBias(our, [.. biases], start);
    }

    /// <summary>One published linear layer as several of ours.</summary>
    public void Split(string published, ReadOnlySpan<(string Our, int Rows)> layers, int columns, bool bias)
    {
        var total = 0L;
        foreach (var (_, rows) in layers)
            total += rows;
        var start = 0L;
        foreach (var (our, rows) in layers)
        {
            var weight = Whole(published + ".weight", total, columns, Transposed) with { PublishedStart = start, Rows = rows };
            _specs.Add(new(our + ".weight", [rows, columns], [weight], ParameterKind.Weight, std));
            if (bias)
                AddBias(our, [Vector(published + ".bias", total) with { PublishedStart = start, Rows = rows }], rows);
            start += rows;
        }
    }

    /// <summary>Query, key and value as published by GPT-NeoX: one layer, in which each head's query, key and value
    /// stand below one another.</summary>
    public void HeadByHead(string our, string published, int heads, int headSize, int columns, bool bias, bool fused)
    {
        var total = 3L * heads * headSize;
        (string Our, int[] Which)[] layers = fused ? [(our + ".query_key_value", [0, 1, 2])]
            : [(our + ".query", [0]), (our + ".key", [1]), (our + ".value", [2])];
        foreach (var (name, which) in layers)
        {
            var places = which.SelectMany((part, i) => Enumerable.Range(0, heads)
                .Select(head => (From: (3L * head + part) * headSize, To: ((long)i * heads + head) * headSize))).ToArray();
            var whole = Whole(published + ".weight", total, columns, Transposed) with { Rows = headSize };
            var vector = Vector(published + ".bias", total) with { Rows = headSize };
            _specs.Add(new(name + ".weight", [(long)which.Length * heads * headSize, columns],
                [.. places.Select(place => whole with { PublishedStart = place.From, Start = place.To })], ParameterKind.Weight, std));
            if (bias)
                AddBias(name, [.. places.Select(place => vector with { PublishedStart = place.From, Start = place.To })],
                    (long)which.Length * heads * headSize);
        }
    }

    private void AddBias(string our, ValueList<ParameterPart> parts, long size) =>
        _specs.Add(new(our + ".bias", [size], parts, ParameterKind.Bias, 0));

    private static ParameterPart Whole(string published, long rows, long columns, bool transposed) =>
        new(published, transposed ? [columns, rows] : [rows, columns], 0, 0, rows, transposed);

    private static ParameterPart Vector(string published, long size) => new(published, [size], 0, 0, size, false);
}
