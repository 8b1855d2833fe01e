using System.Text.Json;
using Handbook.Base;
using Handbook.Data;
using Handbook.Models;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Plans;
using Handbook.Training.Progress;

namespace Handbook.Training.Rewards;

/// <summary>A reward model ready to score: network with scalar head, and tokenizer.</summary>
/// <param name="network">A decoder whose head is a score; owned from here on.</param>
/// <param name="tokenizer">Its tokenizer.</param>
public sealed class RewardModel(Decoder network, Tokenizer tokenizer) : IDisposable
{
    /// <summary>Rows that are put into bins together: enough to fill them, few enough to find their places fast.</summary>
    private const int GroupSize = 256;

    /// <summary>What <see cref="MaxTokens"/> is where nobody says.</summary>
    internal const int DefaultMaxTokens = 4096;

    private static readonly ChatEncodeOptions s_whole = new() { WithAssistantMask = false };

    private readonly Lazy<ChatEncoder> _chats = new(() => new(tokenizer, ChatTemplate.Of(tokenizer, "chat_template")));

    /// <summary>The network; its head gives one number for each text.</summary>
    public Decoder Network { get; } = network;

    /// <summary>Turns text into ids.</summary>
    public Tokenizer Tokenizer { get; } = tokenizer;

    /// <summary>Most tokens that go through the network at once; a longer row goes alone.</summary>
    public int MaxTokens { get; init; } = DefaultMaxTokens;

    /// <summary>The labels of a classifier; null where the model is a reward model.</summary>
    internal LabelSet? Labels { get; init; }

    /// <param name="folder">The folder of a reward model, or its name below <c>HANDBOOK_MODELS</c>.</param>
    /// <param name="compute">Element type of products.</param>
    /// <param name="note">Receives what the user should know, such as tensors that are left out.</param>
    /// <param name="maxTokens">Most tokens that go through the network at once.</param>
    /// <exception cref="InputException">The folder holds a language model, or no model.</exception>
    public static RewardModel Open(string folder, DType compute, Action<string>? note = null, int maxTokens = DefaultMaxTokens) =>
        Open(ModelSource.Find(folder), compute, note, maxTokens);

    /// <summary>A model with the adapters over it.</summary>
    /// <inheritdoc cref="Open(string, DType, Action{string}?, int)"/>
    /// <param name="load">Loads what is planned, such as with codes from a cache or on a device; null on the CPU, with codes from the
    /// cache.</param>
    /// <param name="withLabels">Whether it may be a classifier of several labels.</param>
    internal static RewardModel Open(ModelSource source, DType compute, Action<string>? note, int maxTokens,
        Func<ModelWeights, ParameterPlan, Decoder>? load = null, bool withLabels = false)
    {
        var folder = source.Top;
        var config = source.Config();
        if (!withLabels || config.Decoder.Head != ModelHead.Score)
            RequireScores(config, folder);
        var tokenizer = Tokenizer.Load(source.HavingTokenizer);
        TorchRuntime.Load();
        using var weights = source.Open(config);
        var plan = source.Plan(weights, compute);
        foreach (var said in source.Notes)
            note?.Invoke($"note: {said}");
        return new((load ?? QuantisedCache.Loader(source, RunObservers.None))(weights, plan), tokenizer)
        {
            MaxTokens = maxTokens,
            Labels = LabelSet.Of(config, folder),
        };
    }

    /// <summary>Requires that a model has a head that scores texts.</summary>
    /// <param name="folder">The model's folder.</param>
    /// <exception cref="InputException">It has another.</exception>
    internal static void RequireScores(PublishedConfig config, string folder)
    {
        if (config.Decoder is not { Head: ModelHead.Score, Labels: 1 })
            throw config.Labels is { } labels
                ? new InputException($"{folder} is a classifier of {labels} labels",
                    why: "a reward model has one label: its score (num_labels 1 in config.json)",
                    fix: "name the folder of a reward model; `handbook score` gives the probabilities of labels")
                : new InputException($"{folder} is a language model "
                    + $"(architectures {config.Json["architectures"]?.ToJsonString() ?? "not given"}): it has no head that scores texts",
                why: $"a reward model's config.json says {config.Family.ScoreArchitecture}, and its weights "
                    + $"have {Models.Families.Family.ScoreName}",
                fix: $"train a reward model from it: handbook reward RECIPE --model_name_or_path={folder}");
    }

    /// <summary>The scores of rows: of each answer where a row is a prompt with answers, of the row itself otherwise.</summary>
    /// <param name="rows">Rows of any kind. A prompt is computed once for all of its answers.</param>
    /// <param name="done">Told the number of further rows that are scored.</param>
    /// <returns>One number per answer, in the order of rows and of the answers inside a row.</returns>
    public double[] Score(IReadOnlyList<TokenRow> rows, Action<int>? done = null, CancellationToken cancel = default) =>
        Array.ConvertAll(Values(rows, done, cancel), values => values[0]);

    /// <summary>The numbers that the head gives for rows: of each answer a list, as long as there are labels.</summary>
    /// <inheritdoc cref="Score"/>
    internal double[][] Values(IReadOnlyList<TokenRow> rows, Action<int>? done = null, CancellationToken cancel = default)
    {
        var list = new TokenRowList(rows);
        var starts = new int[rows.Count + 1];
        for (var r = 0; r < rows.Count; r++)
            starts[r + 1] = starts[r] + ScorePlace.Roles(rows[r]).Count();
        var scores = new double[starts[^1]][];
        using var mode = GradMode.Disabled();
        for (var start = 0; start < rows.Count; start += GroupSize)
        {
            var lengths = new int[Math.Min(GroupSize, rows.Count - start)];
            for (var i = 0; i < lengths.Length; i++)
                lengths[i] = list.Length(start + i);
            foreach (var bin in Packing.Bins(lengths, MaxTokens))
            {
                cancel.ThrowIfCancellationRequested();
                var batch = BatchBuilder.Build(list, [.. bin.Order().Select(i => start + i)]);
                Put(scores, starts, batch);
                done?.Invoke(bin.Length);
            }
        }
        return scores;
    }

    /// <summary>A text with ways to go on, as a row to score: each ends with the end token.</summary>
    public TokenRow Row(string prompt, IReadOnlyList<string> answers) => Tree([.. answers.Select(answer =>
    {
        var ids = Tokenizer.EncodeOnce(prompt + answer);
        return Tokenizer.EosId is { } end && (ids.Length == 0 || ids[^1] != end) ? [.. ids, end] : ids;
    })]);

    /// <summary>A conversation with answers of the assistant, as a row to score, rendered by the tokenizer's chat template.</summary>
    /// <param name="messages">A JSON list of turns with role and content, up to the assistant's next one.</param>
    /// <exception cref="InputException">The template refuses the conversation.</exception>
    public TokenRow Row(JsonElement messages, IReadOnlyList<string> answers) => Tree([.. answers.Select(answer =>
    {
        var said = JsonSerializer.SerializeToElement(new { role = "assistant", content = answer });
        return _chats.Value.Encode(new Conversation { Messages = JsonSerializer.SerializeToElement(messages.EnumerateArray()
            .Append(said)) }, s_whole).Ids;
    })]);

    /// <summary>Whole texts as one row: what all of them begin with is the prompt, and each keeps at least its last token for
    /// itself.</summary>
    private static TokenRow Tree(int[][] wholes)
    {
        var shared = wholes.Min(ids => ids.Length) - 1;
        if (shared < 0)
            throw new InputException("an empty text cannot be scored", fix: "leave empty answers out, or give the tokenizer an eos_token");
        foreach (var ids in wholes)
            shared = Math.Min(shared, ids.AsSpan().CommonPrefixLength(wholes[0]));
        var prompt = shared > 0 ? 0 : -1;
        TokenSegment[] first = shared > 0 ? [new(SegmentRole.Prompt, -1, wholes[0].AsMemory(..shared), new byte[shared])] : [];
        return new()
        {
            Segments = [.. first,
            .. wholes.Select(ids => new TokenSegment(SegmentRole.Sample, prompt, ids.AsMemory(shared..), new byte[ids.Length - shared]))]
        };
    }

    private void Put(double[][] scores, int[] starts, TokenBatch batch)
    {
        using var scope = TensorScope.Enter();
        var places = ScorePlace.Of(batch, Network.Config.PadId);
        var values = Network.Scores(batch.Stream(), Array.ConvertAll(places, place => place.Place)).ToArray<double>();
        var labels = Network.Config.Labels;
        for (int i = 0, within = 0; i < places.Length; i++)
        {
            var own = values[(i * labels)..((i + 1) * labels)];
            if (Array.FindIndex(own, value => !double.IsFinite(value)) is >= 0 and var wrong)
                throw new InputException($"the score of row {places[i].Row + 1} is {own[wrong]}",
                    why: "the weights or what they compute are no longer finite",
                    fix: "check the reward model's weights; with bfloat16, try float32");
            within = i > 0 && places[i].Row == places[i - 1].Row ? within + 1 : 0;
            scores[starts[places[i].Row] + within] = own;
        }
    }

    /// <summary>Frees the network.</summary>
    public void Dispose() => Network.Dispose();
}
