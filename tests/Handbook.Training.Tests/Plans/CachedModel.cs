using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Tests;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Training.Tests.Plans;

/// <summary>A small saved model, and a folder beside it for what is kept of its weights.</summary>
internal sealed class CachedModel : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly PublishedConfig _config = Some.Llama(("hidden_size", 48), ("intermediate_size", 80));

    public CachedModel() => Save(3);

    /// <summary>The model's folder.</summary>
    public string Folder => _folder["model"];

    /// <summary>Where the cache is, once there is one.</summary>
    public string Cache => _folder["cache"];

    /// <summary>What is said while it is loaded.</summary>
    public HeardWork Heard { get; } = new();

    /// <summary>The files of a kind that are kept.</summary>
    public string[] Kept(string kind) => Directory.Exists(Path.Combine(Cache, kind)) ? Directory.GetFiles(Path.Combine(Cache, kind)) : [];

    /// <summary>Saves new weights.</summary>
    public void Save(long seed) => WeightFilesWriter.Save(Folder, NewModel.Tensors(_config, seed, DType.BFloat16));

    /// <summary>Lets a file stand where the cache would be.</summary>
    public void ForbidCache() => File.WriteAllText(Cache, "a file where the folder should be");

    /// <summary>Logits of the loaded model: with query, key and value in one matrix, which the file holds apart.</summary>
    public float[] Logits(Func<ModelWeights, Decoder> load)
    {
        using var scope = TensorScope.Enter();
        Decoder model;
        using (var weights = ModelWeights.Open(Folder, _config, fused: true))
            model = load(weights);
        using (model)
            return model.Logits(StreamLayout.Of([[1, 5, 7, 2, 11]])).ToArray<float>();
    }

    public void Dispose() => _folder.Dispose();
}
