using System.Text;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Models.Files;

namespace Handbook.Training.Plans;

/// <summary>A file of the cache with what was made of a model's weights: whoever needs it later maps it instead of making it.</summary>
/// <remarks>It is named by the hashes of the model's files and by what it holds, and is there whole or not at all.</remarks>
internal sealed record ModelCacheFile
{
    /// <summary>What it holds, for a warning; several things.</summary>
    public required string Name { get; init; }

    /// <summary>What happens where it cannot be kept, for the same warning.</summary>
    public required string Otherwise { get; init; }

    /// <summary>Tells it from the other files of a model; it begins with a version of what is written.</summary>
    public required string Content { get; init; }

    /// <summary>The path of a key.</summary>
    public required Func<string, string> Place { get; init; }

    /// <summary>Makes the tensors and writes them with what it is given.</summary>
    public required Action<Action<IEnumerable<TensorToSave>>> Write { get; init; }

    /// <summary>Takes the file; throws <see cref="InputException"/> where it is damaged.</summary>
    public required Action<string> Map { get; init; }

    /// <summary>Maps the file, and makes it first where it is not there, or damaged: then it is only a lost saving.</summary>
    /// <param name="folder">The model's folder.</param>
    /// <param name="cache">Where it is kept, and the hashes of the model's files.</param>
    /// <param name="observer">Hears that the file cannot be kept.</param>
    /// <param name="file">Its path.</param>
    /// <returns>What came of it.</returns>
    public CacheUse Use(string folder, CacheFolder cache, IWorkObserver observer, out string file)
    {
        file = Place(CacheFolder.Hash(Encoding.UTF8.GetBytes(Content
            + string.Concat(ModelFolder.Files(folder).Select(each => $"\n{Path.GetFileName(each)} {cache.HashOf(each)}")))));
        try
        {
            if (File.Exists(file))
            {
                Map(file);
                return CacheUse.Found;
            }
        }
        catch (InputException)
        {
            // made again
        }
        try
        {
            Make(file);
            Map(file);
            return CacheUse.Made;
        }
        catch (Exception failure) when (failure is InputException or IOException or UnauthorizedAccessException)
        {
            observer.Warned($"{Name} cannot be kept ({failure.Message}); {Otherwise}");
            return CacheUse.None;
        }
    }

    private void Make(string file)
    {
        var unfinished = WholeFile.Unfinished(file);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        try
        {
            Write(tensors =>
            {
                using var stream = Disk.Real.Create(unfinished);
                SafetensorsWriter.Write(stream, tensors, new Dictionary<string, string> { ["format"] = "pt" });
            });
            WholeFile.Publish(unfinished, file);
        }
        catch
        {
            WholeFile.Forget(unfinished);
            throw;
        }
    }
}

/// <summary>What came of a file of the cache.</summary>
internal enum CacheUse
{
    /// <summary>It was there.</summary>
    Found,
    /// <summary>It was made.</summary>
    Made,
    /// <summary>It can be neither read nor written.</summary>
    None,
}
