using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Tests;
using Handbook.Torch;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;

namespace Handbook.Training.Tests.Contract;

/// <summary>Tiny models and rows, made from a seed, and what a training step computes on them.</summary>
internal static class Tiny
{
    public const int Vocabulary = 19;

    /// <summary>The kinds of network that the contract is checked on.</summary>
    public static PublishedConfig Config(string kind) => kind switch
    {
        "llama" => Some.Llama(("vocab_size", Vocabulary)),
        "mistral" => Some.Config(("model_type", "mistral"), ("vocab_size", Vocabulary), ("hidden_size", 12), ("intermediate_size", 20),
            ("num_hidden_layers", 2),
            ("num_attention_heads", 3), ("num_key_value_heads", 3), ("max_position_embeddings", 64), ("sliding_window", 5)),
        "mixtral" => Some.Mixtral(("vocab_size", Vocabulary)),
        "olmo2" => Some.Llama(("model_type", "olmo2"), ("vocab_size", Vocabulary)),
        "gpt_neox" => Some.Config(("model_type", "gpt_neox"), ("vocab_size", Vocabulary), ("hidden_size", 24), ("intermediate_size", 20),
            ("num_hidden_layers", 2),
            ("num_attention_heads", 3), ("rotary_pct", 0.5), ("max_position_embeddings", 64)),
        "gpt2" => Some.Gpt2(vocabulary: Vocabulary, hidden: 12, layers: 2, heads: 3, positions: 64),
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "not a kind of test model"),
    };

    /// <summary>A model with weights far from their usual start, so that every part of it matters.</summary>
    public static Decoder Model(string kind, int seed = 1, DType? dtype = null, DType? compute = null, ModelHead head = ModelHead.Language)
    {
        var config = head == ModelHead.Score ? Config(kind).WithScoreHead() : Config(kind);
        var type = dtype ?? DType.Float64;
        return Filled(config, ParameterPlan.Trained(config.Family.Parameters(config.Decoder, fused: true), type, compute ?? type), seed);
    }

    /// <summary>The same model, frozen, with an adapter over it whose numbers are far from their usual start too.</summary>
    public static Decoder Adapted(string kind, AdapterConfig adapter, int seed = 1, DType? dtype = null, double upRate = 1,
        int? adapterSeed = null)
    {
        var (config, type) = (Config(kind), dtype ?? DType.Float64);
        var specs = config.Family.Parameters(config.Decoder, fused: true);
        var layout = AdapterLayout.Of("default", adapter, config.Family, config.Decoder, specs, new NewAdapter(seed), "the test",
            trained: true);
        return Filled(config, ParameterPlan.Resident(specs, type, type).With([layout], upRate), seed, adapterSeed);
    }

    private static Decoder Filled(PublishedConfig config, ParameterPlan plan, int seed, int? adapterSeed = null)
    {
        var type = plan.Residual;
        var parameters = ModelParameters.Allocate(plan);
        var random = new Random(seed);
        using (var scope = TensorScope.Enter())
        {
            using var mode = GradMode.Disabled();
            foreach (var (spec, adapter) in plan.Rules.Select(rule => (rule.Spec, rule.Adapter)))
            {
                if (adapter is not null && adapterSeed is { } own)
                    (random, adapterSeed) = (new Random(own), null);
                var values = new double[spec.Count];
                for (var i = 0; i < values.Length; i++)
                    values[i] = (random.NextDouble() - 0.5) + (spec.Kind == ParameterKind.NormWeight ? 1 : 0);
                parameters[spec.Name].Value.Detach().CopyFrom(Tensor.From(values, [.. spec.Shape]).To(type));
            }
        }
        parameters.RefreshCompute();
        parameters.Activate([.. plan.Adapters.Select(adapter => adapter.Name)]);
        return new Decoder(config.Decoder, parameters);
    }

    /// <summary>Rows of random tokens; where <paramref name="masked"/>, about a third of the tokens carry no loss.</summary>
    public static TokenRowList Rows(int seed, int count, int longest = 14, bool masked = true)
    {
        var random = new Random(seed);
        return new([.. Enumerable.Range(0, count).Select(_ =>
        {
            int[] ids = [.. Enumerable.Range(0, random.Next(2, longest + 1)).Select(_ => random.Next(Vocabulary))];
            return TokenRow.Single(ids, [.. ids.Select((_, i) => (byte)(masked && i > 0 && random.Next(3) == 0 ? 0 : 1))], ids.Length);
        })]);
    }

    /// <summary>Loss and gradients of one step over rows in bins, as the loop computes them.</summary>
    public static StepResult Step(Decoder model, ITrainingMethod method, StepWork work, Func<TokenBatch, ForwardOptions>? options = null,
        Workers? workers = null)
    {
        model.Parameters.ClearGradients();
        var pass = new LossPass { Training = true, Metrics = new MetricSums(), Options = options, Workers = workers ?? Workers.Alone };
        var step = StepSums.Run(model, method, work.Groups, pass);
        model.Parameters.SettleGradients();
        return new(step.Loss, Gradients(model));
    }

    /// <summary>The gradients of everything that is trained.</summary>
    public static Dictionary<string, double[]> Gradients(Decoder model) => model.Parameters.Plan.Rules.Where(rule => rule.IsTrained)
        .ToDictionary(rule => rule.Spec.Name, rule => model.Parameters[rule.Spec.Name].Gradient!.ToArray<double>());

    /// <summary>Fails where a gradient is not the central difference of the loss, at some places of each named parameter.</summary>
    /// <param name="step">The difference has an error of about its square where the loss is curved, and a rounding of 1e-16 divided by
    /// it.</param>
    public static void MustFollowDifferences(Decoder model, ITrainingMethod method, StepWork work, string[] parameters, double absolute,
        int places = 4, double step = 1e-5)
    {
        var gradients = Step(model, method, work).Gradients;
        var random = new Random(2);
        foreach (var name in parameters)
        {
            var values = model.Parameters[name].Value.AsSpan<double>();
            for (var place = 0; place < places; place++)
            {
                var i = random.Next(values.Length);
                var old = values[i];
                values[i] = old + step;
                var above = Step(model, method, work).Loss;
                values[i] = old - step;
                var below = Step(model, method, work).Loss;
                values[i] = old;
                Assert.Equal((above - below) / (2 * step), gradients[name][i], absolute);
            }
        }
    }

    /// <summary>All rows as one step.</summary>
    public static StepWork Whole(ITokenRows rows, ITrainingMethod method, int maxTokens) =>
        BatchLoader.Lay(rows, new StepRows(0, 0, [[.. Enumerable.Range(0, rows.Count)]], 1), method, maxTokens);
}

/// <summary>What a step computed.</summary>
internal sealed record StepResult(double Loss, Dictionary<string, double[]> Gradients)
{
    /// <summary>Fails where loss or any gradient differs by more than <paramref name="absolute"/>; 0 asks for the same bits.</summary>
    public void MustEqual(StepResult other, double absolute, string what)
    {
        Assert.True(Math.Abs(Loss - other.Loss) <= absolute, $"{what}: loss {Loss:r} and {other.Loss:r}");
        Assert.Contains(Gradients.Values, g => g.Any(x => x != 0));
        foreach (var (name, values) in Gradients)
        {
            var worst = values.Zip(other.Gradients[name]).Max(p => Math.Abs(p.First - p.Second));
            Assert.True(worst <= absolute, $"{what}: the gradient of {name} differs by {worst:g3}");
        }
    }
}
