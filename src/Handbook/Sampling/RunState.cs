using System.Text.Json.Nodes;
using Handbook.Data;
using Handbook.Models;
using Handbook.Training.Checkpoints;

namespace Handbook.Sampling;

/// <summary>What a stage's files were made from, in a small file beside them, so that files of another run are not taken for this one's.</summary>
/// <param name="path">The file.</param>
internal sealed class RunState(string path)
{
    /// <summary>What is remembered under a name; null for nothing.</summary>
    public string? Known(string name) => Read()[name]?.GetValue<string>();

    public void Remember(string name, string value)
    {
        var state = Read();
        if (state[name]?.GetValue<string>() == value)
            return;
        state[name] = value;
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        AtomicFile.WriteText(path, state.ToJsonString(JsonLines.Options) + "\n");
    }

    /// <summary>Remembers what a file is made from; stops where it was made from something else.</summary>
    /// <param name="file">The file, for the message.</param>
    public void Require(string name, string value, string file, string fix)
    {
        if (Known(name) is { } before && before != value)
            throw new InputException($"{file} holds {name} that were made from another model, other prompts or other keys of sampling", "they would not be this run's", fix);
        Remember(name, value);
    }

    /// <summary>What decides a model's answers: the content of its weights and config.</summary>
    /// <param name="model">Its folder, or its name below <c>HANDBOOK_MODELS</c>.</param>
    public static string WeightsOf(string model) =>
        string.Join(' ', ModelFolder.Files(ModelFolder.Find(model)).Select(CacheFolder.Default.HashOf));

    public static string Hash(string text) => CacheFolder.Hash(System.Text.Encoding.UTF8.GetBytes(text));

    private JsonObject Read() => File.Exists(path) ? JsonNode.Parse(File.ReadAllText(path))!.AsObject() : [];
}
