using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Tests.Adapters;

/// <summary>A model with random adapters, and the same merged and read back.</summary>
internal sealed class MergedModel : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly ModelWeights _weights;

    /// <param name="folder">The base.</param>
    /// <param name="configs">Adapters, lowest first.</param>
    public MergedModel(string folder, params ReadOnlySpan<AdapterConfig> configs)
        : this(folder, null, configs)
    {
    }

    /// <param name="folder">The base.</param>
    /// <param name="format">How its linear weights are quantised, into the values of which is merged; null for as they are.</param>
    /// <param name="configs">Adapters, lowest first.</param>
    public MergedModel(string folder, QuantisedFormat? format, params ReadOnlySpan<AdapterConfig> configs)
    {
        var config = PublishedConfig.Load(folder);
        _weights = ModelWeights.Open(folder, config, fused: true);
        List<AdapterLayout> layouts = [];
        foreach (var own in configs)
            layouts.Add(AdapterLayout.Of($"adapter{layouts.Count}", own with { Init = AdapterInit.Random }, _weights.Family,
                _weights.Config,
                _weights.Parameters, new NewAdapter(7 + layouts.Count), "adapter_config.json", trained: false));
        Adapted = Decoder.Load(_weights, ParameterPlan.Frozen(_weights, DType.Float32, format is { } kept ? new(kept, DType.Float32) : null)
            .With(layouts));
        Move(layouts);
        Weights = new(Adapted, _weights, config) { OfCodes = format is not null };
        WeightFilesWriter.Save(_folder.Path, Weights.Tensors());
        Weights.Config.Save(_folder.Path);
    }

    /// <summary>The network with the adapters.</summary>
    public Decoder Adapted { get; }

    /// <summary>What it is merged into.</summary>
    public MergedWeights Weights { get; }

    /// <summary>Where the merged model lies.</summary>
    public string Folder => _folder.Path;

    /// <summary>The largest difference between logits of both, of a few tokens; and the largest change that the adapters make.</summary>
    public (double Difference, double Change) Compare()
    {
        using var mode = GradMode.Disabled();
        using var scope = TensorScope.Enter();
        using var files = ModelWeights.Open(Folder, PublishedConfig.Load(Folder), fused: true);
        using var merged = Decoder.Load(files, ParameterPlan.Frozen(files, DType.Float32));
        var stream = StreamLayout.Of([[1, 5, 9, 2, 11, 3], [7, 4, 1]]);
        var adapted = Adapted.Logits(stream).ToArray<float>();
        return (Largest(adapted, merged.Logits(stream).ToArray<float>()), Largest(adapted, Adapted.With().Logits(stream).ToArray<float>()));
    }

    /// <summary>What begins as if there were no adapter is moved away from there.</summary>
    private void Move(IEnumerable<AdapterLayout> layouts)
    {
        var random = new Random(3);
        foreach (var layout in layouts)
        {
            foreach (var target in layout.Layers.SelectMany(layer => layer.Targets))
                Times(target.Magnitude, 1);
            foreach (var (_, own) in layout.Whole)
                Times(own, 1);
            foreach (var spec in layout.Layers.SelectMany(layer => layer.Targets).Select(target => target.UpBias)
                .Concat(layout.Layers.Where(layer => layer.Place == AdapterPlace.Embedding).Select(layer => layer.Down)))
                if (spec is not null)
                    Adapted.Parameters[spec.Name].Value.CopyFrom(Random(spec));
        }

        void Times(ParameterSpec? spec, double about)
        {
            if (spec is not null)
                Adapted.Parameters[spec.Name].Value.CopyFrom(Adapted.Parameters[spec.Name].Value * (Random(spec) + about));
        }

        Tensor Random(ParameterSpec spec) => Tensor.From(Enumerable.Range(0, (int)spec.Count).Select(_ => random.NextSingle() * 0.6f - 0.3f)
            .ToArray(), [.. spec.Shape]);
    }

    private static double Largest(float[] a, float[] b) => a.Zip(b, (x, y) => Math.Abs((double)x - y)).Max();

    public void Dispose()
    {
        Adapted.Dispose();
        _weights.Dispose();
        _folder.Dispose();
    }
}
