using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Tests;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Plans;

namespace Handbook.Training.Tests.Plans;

/// <summary>Weights that no file holds as they are used are put together once for all processes of a host.</summary>
[Collection("tensors")]
public sealed class AssembledCacheTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly PublishedConfig _config = Some.Llama(("hidden_size", 48), ("intermediate_size", 80));
    private readonly HeardWork _heard = new();

    public AssembledCacheTests() => WeightFilesWriter.Save(_folder["model"], NewModel.Tensors(_config, 3, DType.BFloat16));

    [Fact]
    public void A_second_process_maps_what_the_first_made_and_computes_the_same()
    {
        var alone = Logits(null);
        Assert.Equal(alone, Logits(_folder["cache"]));
        var file = Assert.Single(Directory.GetFiles(_folder["cache/weights"]));
        Assert.Equal((_heard.Total, 1), (_heard.Done, _heard.Begun));

        Assert.Equal(alone, Logits(_folder["cache"]));
        Assert.Equal(1, _heard.Begun);
        File.WriteAllBytes(file, File.ReadAllBytes(file)[..^7]);
        Assert.Equal(alone, Logits(_folder["cache"]));
        Assert.Equal(2, _heard.Begun);
        Assert.Equal([file], Directory.GetFiles(_folder["cache/weights"]));
    }

    [Fact]
    public void Where_nothing_can_be_kept_each_process_has_its_own_copy_and_it_is_said()
    {
        File.WriteAllText(_folder["cache"], "a file where the folder should be");
        Assert.Equal(Logits(null), Logits(_folder["cache"]));
        var warning = Assert.Single(_heard.Warnings);
        Assert.StartsWith("weights that processes of a host would share cannot be kept (", warning, StringComparison.Ordinal);
        Assert.EndsWith("; each process has its own copy", warning, StringComparison.Ordinal);
    }

    // With query, key and value in one matrix, which the file holds apart.
    private float[] Logits(string? cache)
    {
        using var scope = TensorScope.Enter();
        Decoder model;
        using (var weights = ModelWeights.Open(_folder["model"], _config, fused: true))
        {
            var plan = ParameterPlan.Frozen(weights, DType.Float32);
            model = Decoder.Load(weights, cache is null ? plan
                : AssembledCache.Use(_folder["model"], weights, plan.Assembled(), new CacheFolder(cache), _heard));
        }
        using (model)
            return model.Logits(StreamLayout.Of([[1, 5, 7, 2, 11]])).ToArray<float>();
    }

    public void Dispose() => _folder.Dispose();
}
