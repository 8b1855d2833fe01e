using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Plans;

namespace Handbook.Training.Tests.Plans;

/// <summary>Weights that no file holds as they are used are put together once for all processes of a host.</summary>
[Collection("tensors")]
public sealed class AssembledCacheTests : IDisposable
{
    private readonly CachedModel _model = new();

    [Fact]
    public void A_second_process_maps_what_the_first_made_and_computes_the_same()
    {
        var alone = Logits(null);
        Assert.Equal(alone, Logits(_model.Cache));
        var file = Assert.Single(_model.Kept("weights"));
        Assert.Equal((_model.Heard.Total, 1), (_model.Heard.Done, _model.Heard.Begun));

        Assert.Equal(alone, Logits(_model.Cache));
        Assert.Equal(1, _model.Heard.Begun);
        File.WriteAllBytes(file, File.ReadAllBytes(file)[..^7]);
        Assert.Equal(alone, Logits(_model.Cache));
        Assert.Equal(2, _model.Heard.Begun);
        Assert.Equal([file], _model.Kept("weights"));
    }

    [Fact]
    public void Where_nothing_can_be_kept_each_process_has_its_own_copy_and_it_is_said()
    {
        _model.ForbidCache();
        Assert.Equal(Logits(null), Logits(_model.Cache));
        var warning = Assert.Single(_model.Heard.Warnings);
        Assert.StartsWith("weights that processes of a host would share cannot be kept (", warning, StringComparison.Ordinal);
        Assert.EndsWith("; each process has its own copy", warning, StringComparison.Ordinal);
    }

    private float[] Logits(string? cache) => _model.Logits(weights =>
    {
        var plan = ParameterPlan.Frozen(weights, DType.Float32);
        return Decoder.Load(weights, cache is null ? plan
            : AssembledCache.Use(_model.Folder, weights, plan.Assembled(), new CacheFolder(cache), _model.Heard));
    });

    public void Dispose() => _model.Dispose();
}
