using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Models.Quantised;
using Handbook.Models.Sharding;
using Handbook.Models.Tests;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Quantised;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Tests.Models;

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
        _ => FamilyVariants.Config(kind),
    };

    /// <summary>A model with weights far from their usual start, so that every part of it matters.</summary>
    public static Decoder Model(string kind, int seed = 1, DType? dtype = null, DType? compute = null, ModelHead head = ModelHead.Language,
        Shard? shard = null, Device? device = null)
    {
        var config = head == ModelHead.Score ? Config(kind).WithScoreHead() : Config(kind);
        var type = dtype ?? DType.Float64;
        return Filled(config, ParameterPlan.Trained(config.Family.Parameters(config.Decoder, fused: true), type, compute ?? type)
            .SharedOut(shard ?? Shard.Alone).On(device ?? Device.Cpu), seed);
    }

    /// <summary>The same model, frozen, with an adapter over it whose numbers are far from their usual start too.</summary>
    /// <param name="kind">The network.</param>
    /// <param name="adapter">Also says whether the weights below are codes.</param>
    /// <param name="seed">Of all numbers.</param>
    /// <param name="dtype">Of masters and products.</param>
    /// <param name="upRate">Factor on the learning rate of B.</param>
    /// <param name="adapterSeed">Of the adapter's numbers; null goes on with <paramref name="seed"/>'s.</param>
    /// <param name="head">What the network ends in.</param>
    /// <param name="asValues">Keeps the values of codes in the place of the codes.</param>
    public static Decoder Adapted(string kind, AdapterKind adapter, int seed = 1, DType? dtype = null, double upRate = 1,
        int? adapterSeed = null, ModelHead head = ModelHead.Language, bool asValues = false, Shard? shard = null,
        Device? device = null) =>
        Made(kind, AdapterKinds.Config(adapter), AdapterKinds.Codes(adapter), seed, dtype, upRate, adapterSeed, head, asValues, shard, device);

    /// <summary>The same over numbers, with another adapter.</summary>
    public static Decoder Adapted(string kind, AdapterConfig adapter, double upRate = 1, int seed = 1, DType? dtype = null,
        Shard? shard = null) =>
        Made(kind, adapter, null, dtype: dtype, upRate: upRate, adapterSeed: seed, shard: shard);

    /// <summary>What lies below an adapter, without it.</summary>
    public static Decoder Base(string kind, AdapterKind adapter) => Made(kind, null, AdapterKinds.Codes(adapter));

    private static Decoder Made(string kind, AdapterConfig? adapter, QuantisedFormat? codes, int seed = 1, DType? dtype = null,
        double upRate = 1, int? adapterSeed = null, ModelHead head = ModelHead.Language, bool asValues = false, Shard? shard = null,
        Device? device = null)
    {
        var place = device ?? Device.Cpu;
        var cut = shard ?? Shard.Alone;
        var (config, type) = (head == ModelHead.Score ? Config(kind).WithScoreHead() : Config(kind), dtype ?? DType.Float64);
        var specs = config.Family.Parameters(config.Decoder, fused: true);
        AdapterLayout[] layouts = adapter is null ? [] : [AdapterLayout.Of("default", adapter, config.Family, config.Decoder, specs,
            new NewAdapter(seed), "the test", trained: true)];
        if (codes is not { } format)
            return Filled(config, ParameterPlan.Resident(specs, type, type).With(layouts, upRate).SharedOut(cut).On(place), seed, adapterSeed);
        using var files = new TemporaryFolder();
        using (var plain = Model(kind, seed, DType.Float32, head: head))
            Save(plain, files["plain"]);
        using var weights = ModelWeights.Open(files["plain"], config, fused: true);
        if (!asValues)
            return Loaded(weights, ParameterPlan.Partly(weights, type, type, _ => false, new(format, DType.Float32)));
        using (var coded = QuantisedTensors.Of(weights, format))
            WeightFilesWriter.Save(files["codes"], coded.Tensors);
        using var values = ModelWeights.Open(files["codes"], config, fused: true);
        return Loaded(values, ParameterPlan.Resident(values.Parameters, type, type));

        Decoder Loaded(ModelWeights from, ParameterPlan plan)
        {
            var model = Decoder.Load(from, plan.With(layouts, upRate).SharedOut(cut).On(place));
            Fill(model.Parameters, layouts.SelectMany(layout => layout.Specs), new Random(adapterSeed ?? seed + 1), adapters: true);
            return model;
        }
    }

    /// <summary>Writes the weights of a model as a checkpoint.</summary>
    public static void Save(Decoder model, string folder, DType? dtype = null) => WeightFilesWriter.Save(folder,
        PublishedTensors.Of(model.Parameters.Specs, name =>
        {
            var value = model.Parameters[name].Value;
            return new(new(name, value.DType, [.. value.Shape]), TensorKeeper.Address(value), new TensorKeeper(value));
        }, dtype ?? DType.Float32));

    private static Decoder Filled(PublishedConfig config, ParameterPlan plan, int seed, int? adapterSeed = null)
    {
        var parameters = ModelParameters.Allocate(plan);
        var random = new Random(seed);
        Fill(parameters, plan.Rules.Where(rule => rule.Adapter is null).Select(rule => rule.Spec), random);
        Fill(parameters, plan.Rules.Where(rule => rule.Adapter is not null).Select(rule => rule.Spec),
            adapterSeed is { } own ? new Random(own) : random, adapters: true);
        parameters.Activate([.. plan.Adapters.Select(adapter => adapter.Name)]);
        return new Decoder(config.Decoder, parameters);
    }

    private static void Fill(ModelParameters parameters, IEnumerable<ParameterSpec> specs, Random random, bool adapters = false)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        foreach (var spec in specs)
        {
            var values = new double[spec.Count];
            for (var i = 0; i < values.Length; i++)
                values[i] = (random.NextDouble() - 0.5) + (spec.Kind == ParameterKind.NormWeight ? 1 : 0);
            var master = parameters[spec.Name].Value.Detach();
            master.CopyFrom(Tensor.From(values, [.. spec.Shape]).To(master.DType));
        }
        parameters.TakeOwn(adapters);
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
