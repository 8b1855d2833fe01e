using Handbook.Data;
using Handbook.Models;
using Handbook.Text;
using Handbook.Torch;
using Decoder = Handbook.Models.Decoder;

namespace Handbook.Rewards;

/// <summary>A reward model ready to score: network with scalar head, and tokenizer.</summary>
/// <param name="network">A decoder whose head is a score; owned from here on.</param>
/// <param name="tokenizer">Its tokenizer.</param>
public sealed class RewardModel(Decoder network, Tokenizer tokenizer) : IDisposable
{
    /// <summary>Rows that are put into bins together: enough to fill them, few enough to find their places fast.</summary>
    private const int GroupSize = 256;

    public Decoder Network { get; } = network;

    public Tokenizer Tokenizer { get; } = tokenizer;

    /// <summary>Most tokens that go through the network at once; a longer row goes alone.</summary>
    public int MaxTokens { get; init; } = 4096;

    /// <param name="folder">The folder of a reward model, or its name below <c>HANDBOOK_MODELS</c>.</param>
    /// <param name="compute">Element type of products.</param>
    /// <param name="note">Receives what the user should know, such as tensors that are left out.</param>
    /// <exception cref="InputException">The folder holds a language model, or no model.</exception>
    public static RewardModel Open(string folder, DType compute, Action<string>? note = null)
    {
        folder = ModelFolder.Find(folder);
        var config = PublishedConfig.Load(folder);
        if (config.Decoder.Head != ModelHead.Score)
            throw config.Labels is { } labels
                ? new InputException($"{folder} is a classifier of {labels} labels", why: "a reward model has one label: its score (num_labels 1 in config.json)", fix: "name the folder of a reward model")
                : new InputException($"{folder} is a language model (architectures {config.Json["architectures"]?.ToJsonString() ?? "not given"}): it has no head that scores texts",
                why: $"a reward model's config.json says {config.Family.ScoreArchitecture}, and its weights have {Models.Families.Family.ScoreName}",
                fix: $"train a reward model from it: handbook reward RECIPE --model_name_or_path={folder}");
        var tokenizer = Tokenizer.Load(folder);
        TorchRuntime.Load();
        using var weights = ModelWeights.Open(folder, config, fused: true);
        foreach (var unused in weights.Unused.Take(5))
            note?.Invoke($"note: {folder}: tensor {unused} belongs to no parameter and is left out");
        return new(Decoder.Load(weights, DType.Float32, compute, trainable: false), tokenizer);
    }

    /// <summary>The scores of rows: of each answer where a row is a prompt with answers, of the row itself otherwise.</summary>
    /// <param name="rows">Rows of any kind. A prompt is computed once for all of its answers.</param>
    /// <param name="done">Told the number of further rows that are scored.</param>
    /// <returns>One number per answer, in the order of rows and of the answers inside a row.</returns>
    public double[] Score(IReadOnlyList<TokenRow> rows, Action<int>? done = null, CancellationToken cancel = default)
    {
        var list = new TokenRowList(rows);
        var starts = new int[rows.Count + 1];
        for (var r = 0; r < rows.Count; r++)
            starts[r + 1] = starts[r] + AnswerEnd.Count(rows[r]);
        var scores = new double[starts[^1]];
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

    private void Put(double[] scores, int[] starts, TokenBatch batch)
    {
        using var scope = TensorScope.Enter();
        var ends = AnswerEnd.Of(batch, Network.Config.PadId);
        var values = Network.Scores(StreamLayout.Of(batch), Array.ConvertAll(ends, end => end.Place)).To(DType.Float64).AsSpan<double>();
        for (int i = 0, within = 0; i < ends.Length; i++)
        {
            within = i > 0 && ends[i].Row == ends[i - 1].Row ? within + 1 : 0;
            scores[starts[ends[i].Row] + within] = values[i];
        }
    }

    public void Dispose() => Network.Dispose();
}
