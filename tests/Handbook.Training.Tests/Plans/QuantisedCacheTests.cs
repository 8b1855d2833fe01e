using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Quantised;
using Handbook.Training.Plans;

namespace Handbook.Training.Tests.Plans;

/// <summary>Quantised weights are made once, and the same ever after.</summary>
[Collection("tensors")]
public sealed class QuantisedCacheTests : IDisposable
{
    private readonly CachedModel _model = new();

    private CacheFolder Cache => new(_model.Cache);

    private string[] Kept => _model.Kept("quantised");

    [Theory, InlineData("Nf4", true), InlineData("Fp4", false), InlineData("Int8", false)]
    public void A_second_start_maps_what_the_first_made(string kind, bool isDouble)
    {
        var format = new QuantisedFormat(Enum.Parse<QuantisedKind>(kind), isDouble);
        var (inMemory, first) = (Logits(format, null), Logits(format, Cache));
        Assert.Equal(inMemory, first);
        var file = Assert.Single(Kept);
        Assert.Equal((_model.Heard.Total, 1), (_model.Heard.Done, _model.Heard.Begun));
        var written = File.GetLastWriteTimeUtc(file);

        Assert.Equal(first, Logits(format, Cache));
        Assert.Equal(written, File.GetLastWriteTimeUtc(Assert.Single(Kept)));
        Assert.Equal(1, _model.Heard.Begun);
    }

    [Fact]
    public void Another_format_and_other_weights_have_their_own_file()
    {
        Logits(new(QuantisedKind.Nf4), Cache);
        Logits(new(QuantisedKind.Nf4, Double: true), Cache);
        Assert.Equal(2, Kept.Length);
        _model.Save(4);
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
        Assert.Equal(2, _model.Heard.Begun);
        Assert.Single(Kept);
    }

    [Fact]
    public void Where_nothing_can_be_kept_the_codes_stay_in_memory_and_it_is_said()
    {
        _model.ForbidCache();
        Assert.Equal(Logits(new(QuantisedKind.Nf4), null), Logits(new(QuantisedKind.Nf4), Cache));
        Assert.Contains("cannot be kept", Assert.Single(_model.Heard.Warnings));
    }

    private float[] Logits(QuantisedFormat format, CacheFolder? cache) => _model.Logits(weights =>
    {
        var plan = ParameterPlan.Frozen(weights, DType.Float32, new(format, DType.Float32));
        return cache is null ? Decoder.Load(weights, plan) : QuantisedCache.Load(_model.Folder, weights, plan, cache, _model.Heard);
    });

    public void Dispose() => _model.Dispose();
}
