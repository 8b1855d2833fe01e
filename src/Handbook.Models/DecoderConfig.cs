using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models;

/// <summary>Everything a decoder needs to know about itself. A family fills it from <c>config.json</c>; the network
/// reads nothing else.</summary>
/// <remarks>
/// Shapes use the letters D hidden, F feed-forward, H heads, K key-value heads, E head size, V vocabulary, L layers.
/// A switch that only some families use has the name its paper gave it and is off by default.
/// </remarks>
public sealed record DecoderConfig
{
    /// <summary>The published <c>model_type</c>, e.g. <c>llama</c>.</summary>
    public required string ModelType { get; init; }

    /// <summary>D, width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>F, width inside the feed-forward layer.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>L.</summary>
    public required int Layers { get; init; }

    /// <summary>H, query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>K, heads of keys and values; H / K queries share one (grouped heads, arXiv:2305.13245).</summary>
    public required int KeyValueHeads { get; init; }

    /// <summary>E; H·E need not be D.</summary>
    public required int HeadSize { get; init; }

    /// <summary>Elements of a value per head; E where nothing else is said.</summary>
    public int ValueHeadSize { get => field > 0 ? field : HeadSize; init; }

    /// <summary>V, rows of the embedding.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Longest sequence the model was made for; with learned positions a hard limit.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>How the residual stream is scaled before a block reads it.</summary>
    public NormKind Norm { get; init; } = NormKind.RmsNorm;

    /// <summary>Where a layer's norms stand relative to attention and feed-forward.</summary>
    public NormPlacement NormPlacement { get; init; } = NormPlacement.Before;

    /// <summary>The stream goes on with what a block read, its norm's output, instead of what the norm read (BLOOM's
    /// <c>apply_residual_connection_post_layernorm</c>).</summary>
    public bool ResidualFromNorm { get; init; }

    /// <summary>A norm of the embeddings before layer 0 (BLOOM).</summary>
    public bool EmbeddingNorm { get; init; }

    /// <summary>A norm behind the last layer. Where layers end in one of their own there is none (OPT 350M).</summary>
    public bool FinalNorm { get; init; } = true;

    /// <summary>ε under the root of the norms.</summary>
    public required double NormEpsilon { get; init; }

    /// <summary>Added to every norm weight before use: 1 where the file stores the weight minus one (Gemma), else 0.</summary>
    public double NormWeightOffset { get; init; }

    /// <summary>The point-wise function inside the feed-forward layer.</summary>
    public required Activation Activation { get; init; }

    /// <summary>True: <c>down(act(gate x) ⊙ up x)</c>; false: <c>down(act(up x))</c>.</summary>
    public bool GatedMlp { get; init; } = true;

    /// <summary>L: gates are at most L, and what they multiply is between −L and L (gpt-oss); 0 means no limit.</summary>
    public double GateLimit { get; init; }

    /// <summary>Added to what gates multiply (gpt-oss: 1).</summary>
    public double UpOffset { get; init; }

    /// <summary>Biases on the query, key and value projections.</summary>
    public bool QueryKeyValueBias { get; init; }

    /// <summary>Bias on the attention's output projection.</summary>
    public bool AttentionOutputBias { get; init; }

    /// <summary>Biases on the feed-forward projections.</summary>
    public bool MlpBias { get; init; }

    /// <summary>What reads the last hidden states.</summary>
    public ModelHead Head { get; init; } = ModelHead.Language;

    /// <summary>C, numbers that a head which scores texts gives: 1 of a reward model, one for each label of a classifier.</summary>
    public int Labels { get; init; } = 1;

    /// <summary>The head that predicts tokens is the embedding itself; there is no <c>head.weight</c>.</summary>
    public bool TiedHead { get; init; }

    /// <summary>A bias on the head that predicts tokens (Phi, GPT-J).</summary>
    public bool HeadBias { get; init; }

    /// <summary>Width of the tables of tokens where it is not D: two more projections lead to the residual stream and back (OPT 350M). 0
    /// means D.</summary>
    public int EmbeddingSize { get; init; }

    /// <summary>Width of the tables of tokens.</summary>
    public int TableSize => EmbeddingSize == 0 ? HiddenSize : EmbeddingSize;

    /// <summary>How the network learns where a token stands.</summary>
    public PositionKind Positions { get; init; } = PositionKind.Rope;

    /// <summary>Base of the rotary frequencies.</summary>
    public double RopeTheta { get; init; } = 10000;

    /// <summary>Null: the frequencies as they are.</summary>
    public RopeScaling? RopeScaling { get; init; }

    /// <summary>How many of a head's E dimensions are rotated (the first ones); E unless the family rotates a part. Dimensions turn in
    /// pairs: an odd number rotates one more, with the frequencies of the odd one, as the reference library does.</summary>
    public required int RotarySize { get; init; }

    /// <summary>The first of a head's dimensions that turns: 0 unless they are the last ones.</summary>
    public int RotaryStart { get; init; }

    /// <summary>Neighbouring dimensions turn together, 2i with 2i + 1, and not i with i + RotarySize/2 (GPT-J, Cohere, GLM).</summary>
    public bool InterleavedRope { get; init; }

    /// <summary>The rotation of layers with a window; null where it is that of the others (Gemma 3).</summary>
    public RopeBase? WindowRope { get; init; }

    /// <summary>Row of position 0 in a table of learned positions (OPT).</summary>
    public int FirstPosition { get; init; }

    /// <summary>Per layer: a token at t sees t−w+1 … t; 0 sees everything before it. Empty: no layer has a window.</summary>
    public ValueList<int> SlidingWindows { get; init; } = [];

    /// <summary>Per layer: a token at t sees ⌊t/c⌋·c … t; 0 sees everything before it. Empty: no layer has chunks (Llama 4).</summary>
    public ValueList<int> ChunkSizes { get; init; } = [];

    /// <summary>Layers that get no rotation (NoPE, arXiv:2305.19466).</summary>
    public ValueList<int> LayersWithoutRope { get; init; } = [];

    /// <summary>m of each query head: m·(j − i) is added to the scaled score of token i with token j before it (ALiBi, arXiv:2108.12409).
    /// Empty: nothing is added.</summary>
    public ValueList<double> AlibiSlopes { get; init; } = [];

    /// <summary>Queries, keys and values come from short vectors of each token (DeepSeek); null where they come from the stream.</summary>
    public LatentAttention? Latent { get; init; }

    /// <summary>c: elements of queries, keys and values are at most c in size (OLMoE); null means no limit.</summary>
    public double? QueryKeyValueLimit { get; init; }

    /// <summary>Norm of queries and keys.</summary>
    public QueryKeyNorm QueryKeyNorm { get; init; }

    /// <summary>That norm stands behind the rotation, and not before it (HunYuan).</summary>
    public bool QueryKeyNormAfterRope { get; init; }

    /// <summary>Queries grow with their position in layers without rotation; null where they do not (Llama 4).</summary>
    public QueryTemperature? QueryTemperature { get; init; }

    /// <summary>Attention and feed-forward read the same stream and are added together (GPT-J, GPT-NeoX).</summary>
    public bool ParallelResidual { get; init; }

    /// <summary>Then both read the same norm of it (GPT-J, Phi, Cohere), and not one each (GPT-NeoX).</summary>
    public bool SharedNorm { get; init; }

    /// <summary>Factor on the scores q·k instead of 1/√E; null means 1/√E.</summary>
    public double? AttentionMultiplier { get; init; }

    /// <summary>Divides the scores of layer i by i + 1 as well (GPT-2's <c>scale_attn_by_inverse_layer_idx</c>).</summary>
    public bool ScaleAttentionByInverseLayer { get; init; }

    /// <summary>c · tanh(score / c) on the attention scores (Gemma 2); null means none.</summary>
    public double? AttentionSoftCap { get; init; }

    /// <summary>c · tanh(logit / c) on the logits (Gemma 2); null means none.</summary>
    public double? LogitSoftCap { get; init; }

    /// <summary>Factor on the embeddings as they enter layer 0.</summary>
    public double EmbeddingScale { get; init; } = 1;

    /// <summary>Factor on what each block adds to the residual stream (Granite).</summary>
    public double ResidualScale { get; init; } = 1;

    /// <summary>Factor on the logits (Cohere, Granite).</summary>
    public double LogitScale { get; init; } = 1;

    /// <summary>Routed feed-forward layers; null means every layer is dense.</summary>
    public ExpertOptions? Experts { get; init; }

    /// <summary>Whether the feed-forward part of a layer is routed.</summary>
    public bool IsRouted(int layer) => Experts is { } experts && !experts.DenseLayers.Contains(layer);

    /// <summary>Layers whose feed-forward part is routed.</summary>
    public int RoutedLayers => Enumerable.Range(0, Layers).Count(IsRouted);

    /// <summary>Dropout while training, as the file states it: on attention probabilities, on what a block
    /// adds, on the embeddings.</summary>
    public double AttentionDropout { get; init; }

    /// <inheritdoc cref="AttentionDropout"/>
    public double ResidualDropout { get; init; }

    /// <inheritdoc cref="AttentionDropout"/>
    public double EmbeddingDropout { get; init; }

    /// <summary>Standard deviation of a new model's weights.</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary>The id that begins a text; null where the file names none.</summary>
    public int? BosId { get; init; }

    /// <summary>Ids that end an answer; several where the file lists several.</summary>
    public ValueList<int> EosIds { get; init; } = [];

    /// <summary>The id that fills short rows; null where the file names none.</summary>
    public int? PadId { get; init; }

    /// <summary>The row of the embedding that gets no gradient from look-ups: that of <c>pad_token_id</c> in families whose published code
    /// makes it so (<c>padding_idx</c>). A head that shares the embedding moves the row all the same. null: every row learns.</summary>
    public int? PaddingRow { get; init; }

    /// <summary>The element type the file says its weights have; null where it says nothing.</summary>
    public DType? DType { get; init; }

    /// <summary>The rotation of a layer.</summary>
    internal RopeBase Rope(int layer) => WindowRope is { } own && SlidingWindow(layer) > 0 ? own : new(RopeTheta, RopeScaling);

    /// <summary>Longest text the model was made for, with its rotary scaling: a factor may stretch
    /// <see cref="MaxPositions"/>, or be in it already.</summary>
    public int LongestText => Positions == PositionKind.Learned || RopeScaling is not { } scaling ? MaxPositions
        : (int)Math.Min(int.MaxValue, Math.Max(MaxPositions, (scaling.OriginalMaxPositions ?? MaxPositions) * scaling.Factor));

    /// <summary>Tokens that a sequence can have at all: learned positions end, others go on without end.</summary>
    internal int GreatestLength => Positions == PositionKind.Learned ? MaxPositions : int.MaxValue;

    /// <summary>Most tokens of an answer: the last one is drawn, but never read.</summary>
    /// <param name="prompt">Tokens before it.</param>
    /// <param name="wished">Most that are wanted.</param>
    internal int AnswerRoom(int prompt, int wished) => (int)Math.Min(wished, (long)GreatestLength - prompt + 1);

    /// <summary>Width of the queries, H·E.</summary>
    public int QuerySize => Heads * HeadSize;

    /// <summary>Width of the keys, K·E, and of the values unless these have a size of their own.</summary>
    public int KeyValueSize => KeyValueHeads * HeadSize;

    /// <summary>Width of the values, of K heads.</summary>
    public int ValueSize => KeyValueHeads * ValueHeadSize;

    /// <summary>Width of what the heads say together, before the output projection.</summary>
    public int MixedSize => Heads * ValueHeadSize;

    /// <summary>Factor on the scores q·k of a layer: 1/√E unless the family says otherwise.</summary>
    public double AttentionScale(int layer) =>
        (AttentionMultiplier ?? 1 / Math.Sqrt(HeadSize)) / (ScaleAttentionByInverseLayer ? layer + 1 : 1);

    /// <summary>The window of a layer; 0 means none.</summary>
    public int SlidingWindow(int layer) => SlidingWindows.Count == 0 ? 0 : SlidingWindows[layer];

    /// <summary>The chunk of a layer; 0 means none.</summary>
    public int ChunkSize(int layer) => ChunkSizes.Count == 0 ? 0 : ChunkSizes[layer];

    /// <summary>Whether a layer rotates its queries and keys.</summary>
    public bool HasRope(int layer) => Positions == PositionKind.Rope && !LayersWithoutRope.Contains(layer);
}

/// <summary>What reads the last hidden states.</summary>
public enum ModelHead
{
    /// <summary>A logit per token of the vocabulary; <c>head.weight</c> [V, D], or the embedding where it is tied.</summary>
    Language,

    /// <summary>The score of the text so far, or one for each of a classifier's labels; <c>score.weight</c> [C, D].</summary>
    Score,
}

/// <summary>How a vector is scaled to a common size.</summary>
public enum NormKind
{
    /// <summary>x / √(mean x² + ε) · weight. Zhang and Sennrich 2019, arXiv:1910.07467.</summary>
    RmsNorm,

    /// <summary>(x − mean) / √(variance + ε) · weight + bias. Ba et al. 2016, arXiv:1607.06450.</summary>
    LayerNorm,
}

/// <summary>Where a layer's norms stand; <c>block</c> is attention or feed-forward.</summary>
public enum NormPlacement
{
    /// <summary>x + block(norm(x)).</summary>
    Before,

    /// <summary>x + norm(block(x)) (OLMo 2).</summary>
    After,

    /// <summary>x + norm(block(norm(x))) (Gemma 2).</summary>
    BeforeAndAfter,

    /// <summary>norm(x + block(x)) (Vaswani et al. 2017, arXiv:1706.03762; OPT 350M).</summary>
    OfSum,
}

/// <summary>How the network learns where a token stands.</summary>
public enum PositionKind
{
    /// <summary>Rotary. Su et al. 2021, arXiv:2104.09864.</summary>
    Rope,

    /// <summary>A learned embedding per position, added to the token's.</summary>
    Learned,

    /// <summary>Nothing is added or turned: scores fall with the distance, by <see cref="DecoderConfig.AlibiSlopes"/>.</summary>
    Alibi,
}

/// <summary>What turns the queries and keys of a layer: the base of the frequencies, and how they are stretched.</summary>
public sealed record RopeBase(double Theta, RopeScaling? Scaling);

/// <summary>How far a norm of queries and keys reaches; its kind is <see cref="DecoderConfig.Norm"/>.</summary>
public enum QueryKeyNorm
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>One weight of length E, over each head (Qwen 3, Gemma 3).</summary>
    PerHead,

    /// <summary>Over each head, with a weight of length E for each (StableLM, Cohere).</summary>
    EachHead,

    /// <summary>Over the whole projection, weights of length H·E and K·E (OLMo 2).</summary>
    WholeProjection,

    /// <summary>Over each head, without weights, in layers that rotate (Llama 4).</summary>
    Unweighted,
}

/// <summary>Routed feed-forward layers: per token the best few of many experts.</summary>
/// <param name="Count">Experts per layer.</param>
/// <param name="PerToken">How many of them a token visits.</param>
/// <param name="NormalizeTopK">Their weights are scaled to sum to one.</param>
/// <param name="AuxiliaryLossCoefficient">Weight of the load-balancing loss.</param>
/// <param name="WantsAuxiliaryLoss">Whether the model asks for that loss when it is trained (<c>output_router_logits</c>).</param>
/// <param name="JitterNoise">Noise on what the router reads while training, as the file states it.</param>
public sealed record ExpertOptions(int Count, int PerToken, bool NormalizeTopK, double AuxiliaryLossCoefficient,
    bool WantsAuxiliaryLoss, double JitterNoise)
{
    /// <summary>Width inside an expert; 0 means that of a dense layer.</summary>
    public int InnerSize { get; init; }

    /// <summary>Width inside one more expert that all tokens visit; 0 means that there is none.</summary>
    public int SharedInnerSize { get; init; }

    /// <summary>Layers whose feed-forward part is dense all the same.</summary>
    public ValueList<int> DenseLayers { get; init; } = [];

    /// <summary>Experts are chosen and weighed by σ of each logit, and not by the softmax of all (DeepSeek).</summary>
    public bool Sigmoid { get; init; }

    /// <summary>Weights multiply what an expert reads, and not what it says (Llama 4).</summary>
    public bool WeighsInput { get; init; }

    /// <summary>Factor on the weights of the chosen.</summary>
    public double WeightScale { get; init; } = 1;

    /// <summary>Groups of experts, of which a token visits a few.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>Groups that a token visits.</summary>
    public int GroupsPerToken { get; init; } = 1;
}

/// <summary>The query at position t, counted from 0, is multiplied by 1 + s·ln( 1 + ⌊(t + 1) / f⌋ ). Nakanishi 2025,
/// arXiv:2501.19399.</summary>
/// <param name="Floor">f.</param>
/// <param name="Scale">s.</param>
public sealed record QueryTemperature(double Floor, double Scale)
{
    /// <summary>The factor at a position.</summary>
    public double Factor(int position) => 1 + Scale * Math.Log(1 + Math.Floor((position + 1) / Floor));
}

/// <summary>Multi-head latent attention. DeepSeek-AI 2024, arXiv:2405.04434, §2.1.</summary>
/// <param name="QueryRank">Length of the vector that queries come from; 0: they come from the stream.</param>
/// <param name="KeyValueRank">Length of the vector that keys and values come from.</param>
/// <param name="Bias">Biases on the projections to those vectors.</param>
public sealed record LatentAttention(int QueryRank, int KeyValueRank, bool Bias);
