using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Tests;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Quantised;
using Handbook.Training.Plans;

namespace Handbook.Training.Tests.Plans;

/// <summary>Quantised weights are made once, and the same ever after.</summary>
[Collection("tensors")]
public sealed class QuantisedCacheTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly PublishedConfig _config = Some.Llama(("hidden_size", 48), ("intermediate_size", 80));
    private readonly HeardWork _heard = new();

    public QuantisedCacheTests() => WeightFilesWriter.Save(_folder["model"], NewModel.Tensors(_config, 3, DType.BFloat16));

    private CacheFolder Cache => new(_folder["cache"]);

    private string[] Kept => Directory.Exists(_folder["cache/quantised"]) ? Directory.GetFiles(_folder["cache/quantised"]) : [];

    [Theory, InlineData("Nf4", true), InlineData("Fp4", false), InlineData("Int8", false)]
    public void A_second_start_maps_what_the_first_made(string kind, bool isDouble)
    {
        var format = new QuantisedFormat(Enum.Parse<QuantisedKind>(kind), isDouble);
        var (inMemory, first) = (Logits(format, null), Logits(format, Cache));
        Assert.Equal(inMemory, first);
        var file = Assert.Single(Kept);
        Assert.Equal((_heard.Total, 1), (_heard.Done, _heard.Begun));
        var written = File.GetLastWriteTimeUtc(file);

        Assert.Equal(first, Logits(format, Cache));
        Assert.Equal(written, File.GetLastWriteTimeUtc(Assert.Single(Kept)));
        Assert.Equal(1, _heard.Begun);
    }

    [Fact]
    public void Another_format_and_other_weights_have_their_own_file()
    {
        Logits(new(QuantisedKind.Nf4), Cache);
        Logits(new(QuantisedKind.Nf4, Double: true), Cache);
        Assert.Equal(2, Kept.Length);
        WeightFilesWriter.Save(_folder["model"], NewModel.Tensors(_config, 4, DType.BFloat16));
        Assert.Equal(Logits(new(QuantisedKind.Nf4), null), Logits(new(QuantisedKind.Nf4), Cache));
        Assert.Equal(3, Kept.Length);
    }

    [Fact]
    public void A_damaged_file_is_made_again()
    {
        var first = Logits(new(QuantisedKind.Nf4), Cache);
        var file = Assert.Single(Kept);
        File.WriteAllBytes(file, File.ReadAllBytes(file)[..^7]);
        Assert.Equal(first, Logits(new(QuantisedKind.Nf4), Cache));
        Assert.Equal(2, _heard.Begun);
        Assert.Single(Kept);
    }

    [Fact]
    public void Where_nothing_can_be_kept_the_codes_stay_in_memory_and_it_is_said()
    {
        File.WriteAllText(_folder["cache"], "a file where the folder should be");
        Assert.Equal(Logits(new(QuantisedKind.Nf4), null), Logits(new(QuantisedKind.Nf4), Cache));
        Assert.Contains("cannot be kept", Assert.Single(_heard.Warnings));
    }

    private float[] Logits(QuantisedFormat format, CacheFolder? cache)
    {
        using var scope = TensorScope.Enter();
        Decoder model;
        using (var weights = ModelWeights.Open(_folder["model"], _config, fused: true))
        {
            var plan = ParameterPlan.Frozen(weights, DType.Float32, new(format, DType.Float32));
            model = cache is null ? Decoder.Load(weights, plan) : QuantisedCache.Load(_folder["model"], weights, plan, cache, _heard);
        }
        using (model)
            return model.Logits(StreamLayout.Of([[1, 5, 7, 2, 11]])).ToArray<float>();
    }

    public void Dispose() => _folder.Dispose();
}
