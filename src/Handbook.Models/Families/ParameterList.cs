namespace Handbook.Models.Families;

/// <summary>Writes a family's parameters down, one line each; shapes are ours, [out, in].</summary>
/// <param name="std">Standard deviation of a new matrix.</param>
internal sealed partial class ParameterList(double std)
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

    /// <summary>Query, key and value published as <c>q_proj</c>, <c>k_proj</c> and <c>v_proj</c>.</summary>
    /// <param name="published">Prefix of their names.</param>
    public void QueryKeyValue(string our, string published, DecoderConfig config, bool fused)
    {
        (string Our, string Published, int Rows)[] layers = [("query", published + "q_proj", config.QuerySize),
            ("key", published + "k_proj", config.KeyValueSize), ("value", published + "v_proj", config.KeyValueSize)];
        if (fused)
            Fused(our + ".query_key_value", layers, config.HiddenSize, config.QueryKeyValueBias);
        else
            foreach (var (name, source, rows) in layers)
                Linear(our + "." + name, source, rows, config.HiddenSize, config.QueryKeyValueBias);
    }

    /// <summary>A gated feed-forward layer that is published as three linear layers.</summary>
    /// <param name="published">Prefix of their names.</param>
    /// <param name="fused">Gate and up as one.</param>
    /// <param name="inner">Its width inside; null for that of the model.</param>
    public void GatedMlp(string our, string published, (string Gate, string Up, string Down) names, DecoderConfig config, bool fused,
        int? inner = null)
    {
        var (d, f) = (config.HiddenSize, inner ?? config.IntermediateSize);
        if (fused)
            Fused(our + ".gate_up", [("gate", published + names.Gate, f), ("up", published + names.Up, f)], d, config.MlpBias);
        else
        {
            Linear(our + ".gate", published + names.Gate, f, d, config.MlpBias);
            Linear(our + ".up", published + names.Up, f, d, config.MlpBias);
        }
        Linear(our + ".down", published + names.Down, d, f, config.MlpBias);
    }

    /// <summary>A gated feed-forward layer that is published as two linear layers, gate and up in one.</summary>
    /// <param name="published">Prefix of their names.</param>
    /// <param name="fused">Gate and up as one.</param>
    /// <param name="inner">Its width inside; null for that of the model.</param>
    public void GateAndUp(string our, string published, (string GateUp, string Down) names, DecoderConfig config, bool fused,
        int? inner = null)
    {
        var (d, f) = (config.HiddenSize, inner ?? config.IntermediateSize);
        if (fused)
            Linear(our + ".gate_up", published + names.GateUp, 2 * f, d, config.MlpBias);
        else
            Split(published + names.GateUp, [(our + ".gate", f), (our + ".up", f)], d, config.MlpBias);
        Linear(our + ".down", published + names.Down, d, f, config.MlpBias);
    }

    /// <summary>A feed-forward layer without a gate.</summary>
    /// <param name="published">Prefix of their names.</param>
    public void PlainMlp(string our, string published, (string Up, string Down) names, DecoderConfig config)
    {
        Linear(our + ".up", published + names.Up, config.IntermediateSize, config.HiddenSize, config.MlpBias);
        Linear(our + ".down", published + names.Down, config.HiddenSize, config.IntermediateSize, config.MlpBias);
    }

    /// <summary>The head that the config names; a tied one is no parameter of its own.</summary>
    public void Head(DecoderConfig config, string published)
    {
        if (config.Head == ModelHead.Score)
        {
            _specs.Add(new("score.weight", [config.Labels, config.TableSize],
                [Whole(Family.ScoreName, config.Labels, config.TableSize, transposed: false)],
                ParameterKind.Weight, config.InitializerRange));
            return;
        }
        if (!config.TiedHead)
            Embedding("head", published, config.VocabularySize, config.TableSize);
        if (config.HeadBias)
            AddBias("head", [Vector(published[..^"weight".Length] + "bias", config.VocabularySize)], config.VocabularySize);
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

    /// <summary>Query, key and value published as one layer, in which the queries of each group of heads, its key and its value stand below
    /// one another: head by head in GPT-NeoX, group by group in Falcon.</summary>
    public void GroupByGroup(string our, string published, DecoderConfig config, bool fused)
    {
        var (queries, size, groups) = (config.Heads / config.KeyValueHeads, (long)config.HeadSize, config.KeyValueHeads);
        var total = (queries + 2) * size * groups;
        // of each part: its first head in a group, and how many
        (string Our, int First, int Heads)[] parts =
            [(our + ".query", 0, queries), (our + ".key", queries, 1), (our + ".value", queries + 1, 1)];
        var (places, start) = (new List<(long From, long To, long Rows)>(), 0L);
        foreach (var (name, first, heads) in parts)
        {
            for (var group = 0; group < groups; group++)
                places.Add((((queries + 2L) * group + first) * size, start + heads * size * group, heads * size));
            start += heads * size * groups;
            if (!fused)
                Add(name);
        }
        if (fused)
            Add(our + ".query_key_value");

        void Add(string name)
        {
            var whole = Whole(published + ".weight", total, config.HiddenSize, Transposed);
            var vector = Vector(published + ".bias", total);
            _specs.Add(new(name + ".weight", [start, config.HiddenSize], [.. places.Select(place => whole with
                { PublishedStart = place.From, Start = place.To, Rows = place.Rows })], ParameterKind.Weight, std));
            if (config.QueryKeyValueBias)
                AddBias(name, [.. places.Select(place => vector with
                    { PublishedStart = place.From, Start = place.To, Rows = place.Rows })], start);
            places.Clear();
            start = 0;
        }
    }

    /// <summary>A norm of heads that has a weight for each, published one by one.</summary>
    /// <param name="published">Prefix of their names.</param>
    public void NormOfEachHead(string our, string published, int heads, int headSize) =>
        _specs.Add(new(our + ".weight", [heads * headSize], [.. Enumerable.Range(0, heads).Select(head =>
            Vector($"{published}.{head}.weight", headSize) with { Start = head * headSize })], ParameterKind.NormWeight, 0));

    /// <summary>The same, published as one tensor.</summary>
    public void NormOfHeads(string our, string published, int heads, int headSize) =>
        _specs.Add(new(our + ".weight", [heads, headSize], [Whole(published + ".weight", heads, headSize, transposed: false)],
            ParameterKind.NormWeight, 0));

    private void AddBias(string our, ValueList<ParameterPart> parts, long size) =>
        _specs.Add(new(our + ".bias", [size], parts, ParameterKind.Bias, 0));

    private static ParameterPart Whole(string published, long rows, long columns, bool transposed) =>
        new(published, transposed ? [columns, rows] : [rows, columns], 0, 0, rows, transposed);

    private static ParameterPart Vector(string published, long size) => new(published, [size], 0, 0, size, false);
}
