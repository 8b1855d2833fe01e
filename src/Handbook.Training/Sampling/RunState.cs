using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Data.Cache;
using Handbook.Models;

namespace Handbook.Training.Sampling;

/// <summary>What a stage's files were made from, in a small file beside them, so that files of another run are not
/// taken for this one's.</summary>
/// <param name="path">The file.</param>
/// <param name="fix">How to begin anew, for the messages.</param>
internal sealed class RunState(string path, string fix)
{
    /// <summary>What is remembered under a name; null for nothing.</summary>
    public string? Known(string name) => (string?)Read()[name];

    public void Remember(string name, string value)
    {
        var state = Read();
        if ((string?)state[name] == value)
            return;
        state[name] = value;
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        WholeFile.WriteText(path, state.ToJsonString(JsonLines.Options) + "\n");
    }

    /// <summary>Remembers what a file is made from; stops where it was made from something else.</summary>
    /// <param name="file">The file, for the message.</param>
    public void Require(string name, string value, string file)
    {
        if (Known(name) is { } before && before != value)
            throw new InputException($"{file} holds {name} that were made from another model, other prompts or other keys of sampling",
                "they would not be this run's", fix);
        Remember(name, value);
    }

    /// <summary>What decides a model's answers: the content of its weights and config, and of the adapters over it.</summary>
    /// <param name="model">Its folder, or its name below <c>HANDBOOK_MODELS</c>.</param>
    public static string WeightsOf(string model)
    {
        var source = ModelSource.Find(model);
        return string.Join(' ', source.Adapters.Prepend(source.Folder).SelectMany(ModelFolder.Files).Select(CacheFolder.Default.HashOf));
    }

    public static string Hash(string text) => CacheFolder.Hash(System.Text.Encoding.UTF8.GetBytes(text));

    private JsonObject Read()
    {
        try
        {
            if (!File.Exists(path))
                return [];
            var state = JsonNode.Parse(File.ReadAllText(path)) as JsonObject;
            if (state?.All(entry => entry.Value?.GetValueKind() == JsonValueKind.String) == true)
                return state;
        }
        catch (Exception failure) when (failure is JsonException or ArgumentException)       // the latter for a name that stands twice
        {
            throw Broken(failure);
        }
        throw Broken(null);

        InputException Broken(Exception? failure) => new($"{path}: is broken: {failure?.Message ?? "it is not an object of texts"}",
            "the file was changed, or the disk lost a part of it, so nobody can tell what the files beside it were made from", fix,
                failure);
    }
}
