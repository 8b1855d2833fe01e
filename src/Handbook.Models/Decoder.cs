using Handbook.Base;
using Handbook.Models.Blocks;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models;

/// <summary>What a forward pass does apart from computing the model.</summary>
public sealed record ForwardOptions
{
    /// <summary>The network alone: nothing is computed again, changed or watched.</summary>
    public static ForwardOptions Plain { get; } = new();

    /// <summary>Keep only each layer's input and compute the layer again in the backward pass.</summary>
    public bool Recompute { get; init; }

    /// <summary>Changes the embeddings as they enter layer 0 (NEFTune); null changes nothing.</summary>
    public Func<Tensor, StreamLayout, Tensor>? EmbeddingNoise { get; init; }

    /// <summary>From which the dropout of adapters follows; null computes without dropout.</summary>
    internal TokenNoise? AdapterNoise { get; init; }

    /// <summary>Whether adapters drop elements of their inputs.</summary>
    public bool DropsInputs => AdapterNoise is not null;

    /// <summary>Sees the residual stream: (i, input of layer i), and last (L, the output of the final norm). For
    /// tests and inspection.</summary>
    public Action<int, Tensor>? Observer { get; init; }

    /// <summary>Sees what the router of each layer says of the tokens: (layer, logits [N, E]). For tests and inspection.</summary>
    public Action<int, Tensor>? RouterObserver { get; init; }

    /// <summary>Learns how the tokens are spread over the experts; null where nobody asks, or the model has none.</summary>
    public ExpertLoad? ExpertLoad { get; init; }
}

/// <summary>The network of every family: embedding, layers of attention and feed-forward on a residual
/// stream, a last norm, a head.</summary>
/// <remarks>
/// It works on the flat stream: N tokens of all rows behind one another, [N, D]. The residual stream keeps the master's precision; what
/// products read and write has the precision of <see cref="Compute"/>.
/// </remarks>
public sealed class Decoder : IDisposable
{
    private readonly DecoderLayer[] _layers;
    private readonly Norm? _embeddingNorm;
    private readonly Norm? _finalNorm;
    private readonly Parameter _embedding;
    private readonly Parameter? _projectIn;
    private readonly Parameter? _projectOut;
    private readonly Parameter? _positions;
    private readonly Parameter _head;
    private readonly RotaryTables _rotary;

    /// <param name="config">What the network looks like.</param>
    /// <param name="parameters">Its weights; owned from here on.</param>
    internal Decoder(DecoderConfig config, ModelParameters parameters)
    {
        Config = config;
        Parameters = parameters;
        _embedding = parameters["embed.weight"];
        _positions = config.Positions == PositionKind.Learned ? parameters["positions.weight"] : null;
        _layers = [.. Enumerable.Range(0, config.Layers).Select(i => new DecoderLayer(config, i, parameters))];
        _projectIn = parameters.Find(ParameterSpec.ProjectIn);
        _projectOut = parameters.Find(ParameterSpec.ProjectOut);
        _embeddingNorm = config.EmbeddingNorm ? new Norm(config, parameters, "embed_norm") : null;
        _finalNorm = config.FinalNorm ? new Norm(config, parameters, "final_norm") : null;
        _head = config.Head == ModelHead.Score ? parameters["score.weight"] : parameters[ParameterSpec.Head];
        HeadOptions = new HeadOptions
        {
            Bias = parameters.Find("head.bias"),
            Scale = config.LogitScale,
            SoftCap = config.LogitSoftCap ?? 0,
        };
        _rotary = new RotaryTables(config);
    }

    /// <summary>What the network looks like.</summary>
    public DecoderConfig Config { get; }

    /// <summary>Its weights.</summary>
    internal ModelParameters Parameters { get; }

    /// <summary>[V, D], with a width of its own where the tables have one; the embedding itself where the head is tied.</summary>
    /// <exception cref="InputException">The model is a reward model.</exception>
    internal Parameter Head => Config.Head == ModelHead.Language ? _head : throw new InputException(
        $"this is a {(Config.Labels == 1 ? "reward model" : $"classifier of {Config.Labels} labels")}: it scores texts and cannot "
            + "predict tokens",
            why: "its head is score.weight, in the place of a language model's",
        fix: "name a language model, such as the one that the reward model was trained from");

    /// <summary>Bias, factor and soft cap of the logits.</summary>
    internal HeadOptions HeadOptions { get; }

    /// <summary>Element type of products.</summary>
    public DType Compute => Parameters.Plan.Compute;

    /// <summary>Where it is computed.</summary>
    internal Device Device => Parameters.Plan.Device;

    internal IReadOnlyList<DecoderLayer> Layers => _layers;

    /// <summary>A model with the weights of a checkpoint.</summary>
    /// <param name="plan">How each of them is kept.</param>
    internal static Decoder Load(ModelWeights weights, ParameterPlan plan)
    {
        var parameters = ModelParameters.Allocate(plan);
        try
        {
            parameters.Load(weights);
            return new Decoder(weights.Config, parameters);
        }
        catch
        {
            parameters.Dispose();
            throw;
        }
    }

    /// <summary>The same network with other adapters active; the weights stay this one's.</summary>
    /// <param name="adapters">Their names in the plan; none for the network without any.</param>
    internal Decoder With(params ReadOnlySpan<string> adapters) => new(Config, Parameters.With(adapters));

    /// <summary>The network that computes sequences of this one and of others over the same weights in one pass, and which group this one
    /// is there; null where it is computed by itself.</summary>
    internal (Decoder Network, int Group)? Joint { get; private set; }

    /// <summary>Lets networks over the same weights be computed in one pass, those whose adapters allow it.</summary>
    /// <param name="views">The network itself and what <see cref="With"/> made of it.</param>
    internal static void Join(IReadOnlyList<Decoder> views)
    {
        Decoder[] joined = [.. views.Where(view => view.Parameters.CanJoin)];
        if (joined.Length < 2)
            return;
        var network = new Decoder(joined[0].Config, joined[0].Parameters.Jointly([.. joined.Select(view => view.Parameters)]));
        for (var group = 0; group < joined.Length; group++)
            joined[group].Joint = (network, group);
    }

    /// <summary>The hidden states from which the head predicts; [N, D], in the precision of the products. Where the stream is cut, those of
    /// this process's tokens.</summary>
    internal Tensor Hidden(StreamLayout stream, ForwardOptions? options = null)
    {
        options ??= ForwardOptions.Plain;
        if (stream.Cut is { } cut && options.AdapterNoise is { } all)
            options = options with { AdapterNoise = all.Select(cut.Places) };
        CheckLength(stream.Length);
        using var scope = TensorScope.Enter();
        var rotary = _rotary.For(stream.Length);
        var traffic = Parameters.Traffic;
        traffic?.Begin(GradMode.IsEnabled);
        var residual = Embed(stream.Tokens, stream.Positions, options.AdapterNoise);
        if (options.EmbeddingNoise is { } noise)
            residual = noise(residual, stream);
        Tensor? delta = null;
        foreach (var layer in _layers)
        {
            options.Observer?.Invoke(layer.Index, delta is null ? residual : residual + delta.To(residual.DType));
            if (traffic is not null)
                (residual, delta) = traffic.Cross(layer.Index, _layers.Length, residual, delta);
            (residual, delta, var spread) = options.Recompute
                ? LayerOutput.From(Recomputed.Run(inputs => layer.Forward(inputs[0]!, inputs[1], stream, rotary, Compute, options)
                    .ToArray(), residual, delta))
                : layer.Forward(residual, delta, stream, rotary, Compute, options);
            if (spread is not null)
                options.ExpertLoad!.Add(layer.Index, spread);
        }
        if (traffic is not null)
            (residual, delta) = traffic.Cross(_layers.Length, _layers.Length, residual, delta);
        var hidden = FinalNorm(residual, delta, options.AdapterNoise);
        options.Observer?.Invoke(_layers.Length, hidden);
        return scope.Keep(hidden);
    }

    /// <summary>What enters layer 0: the rows of the embedding, with learned positions, and behind its norm where there is one; [N, D], in
    /// the master's precision.</summary>
    internal Tensor Embed(Mirrored<int> tokens, Mirrored<int> positions, TokenNoise? noise = null)
    {
        using var scope = TensorScope.Enter();
        var (type, padding) = (Parameters.Plan.Residual, Config.PaddingRow ?? -1);
        // what is multiplied by magnitudes are tokens, not their positions
        var scales = _embedding.Adapters.Any(adapter => adapter.HasMagnitude);
        var apart = scales || _projectIn is not null;
        var (table, inverse) = (apart ? null : _positions, scales ? AdaptedTable.InverseNorms(_embedding, type) : []);
        var first = Config.FirstPosition;
        var y = TokenEmbedding.Forward(tokens, positions, _embedding, table, type, Config.EmbeddingScale, padding, first);
        if (_embedding.Replaced is { } replaced && replaced.Find(tokens.Host) is { Places.Length: > 0 } found)
            y = RowReplace.Forward(y, found.Places, TokenEmbedding.Forward(found.Which, Array.ConvertAll(found.Places,
                place => positions.Host[place]), replaced.Rows, table, type, Config.EmbeddingScale, firstPosition: first));
        for (var i = 0; i < _embedding.Adapters.Count; i++)
        {
            var adapter = _embedding.Adapters[i];
            var low = TokenEmbedding.Forward(tokens, positions, adapter.Down, null, type, padding: padding);
            foreach (var part in adapter.Parts)
                y += Linear.InMaster(low, part.Up) * (part.Scale * Config.EmbeddingScale);
            if (adapter.Parts[0].Magnitude is { } magnitude)
                y = AdaptedTable.Scale(y, magnitude, inverse[i]!);
        }
        if (_projectIn is not null)
            y = Linear.Forward(y.To(Compute), _projectIn, null, noise).To(type);
        if (apart && _positions is not null)
            y += TokenEmbedding.Forward(Config.FirstPosition == 0 ? positions : Array.ConvertAll(positions.Host, at => at + first),
                positions, _positions, null, type);
        return scope.Keep(_embeddingNorm is null ? y : _embeddingNorm.Forward(y, null, type).Output);
    }

    /// <summary>What the head reads: the last norm with the addition before it, and the projection to the width of the head; [N,
    /// D].</summary>
    internal Tensor FinalNorm(Tensor residual, Tensor? delta, TokenNoise? noise = null)
    {
        using var scope = TensorScope.Enter();
        var y = _finalNorm is not null ? _finalNorm.Forward(residual, delta, Compute).Output
            : (delta is null ? residual : residual + delta.To(residual.DType)).To(Compute);
        return scope.Keep(_projectOut is null ? y : Linear.Forward(y, _projectOut, null, noise));
    }

    /// <summary>The rotation of each layer for positions below <paramref name="length"/>.</summary>
    internal LayerRotations Rotary(int length) => _rotary.For(length);

    /// <summary>All logits of a stream; [N, V], float32 or float64. For tests, generation and inspection;
    /// training never builds them.</summary>
    internal Tensor Logits(StreamLayout stream, ForwardOptions? options = null)
    {
        using var scope = TensorScope.Enter();
        return scope.Keep(LinearLogProb.Logits(Hidden(stream, options), Head, HeadOptions));
    }

    /// <summary>The scores of the texts that end at some places of a stream; [M], of a classifier [M, C], in the master's
    /// precision.</summary>
    /// <param name="places">Indices of the tokens to read the score at, each once; [M].</param>
    /// <exception cref="InputException">The model is a language model.</exception>
    internal Tensor Scores(StreamLayout stream, int[] places, ForwardOptions? options = null)
    {
        if (Config.Head != ModelHead.Score)
            throw new InputException("this is a language model: it has no head that scores texts (score.weight)",
                fix: "train a reward model from it with `handbook reward`");
        using var scope = TensorScope.Enter();
        var (rows, which) = stream.Cut?.Own(places) ?? (places, places);
        var hidden = RowSelect.Forward(Hidden(stream, options), rows);
        var scores = Linear.InMaster(hidden, _head);
        if (Config.Labels == 1)
            scores = scores.Squeeze(1);
        return scope.Keep(stream.Cut?.Gather(scores, which, places.Length) ?? scores);
    }

    private void CheckLength(int length)
    {
        if (Config.Positions == PositionKind.Learned && length > Config.MaxPositions)
            throw new InputException($"a row of {length} tokens, but the model has {Config.MaxPositions} learned positions",
                why: "there is no embedding for the positions beyond",
                fix: $"set max_length to {Config.MaxPositions} or less");
    }

    /// <summary>Frees the weights.</summary>
    public void Dispose() => Parameters.Dispose();
}
