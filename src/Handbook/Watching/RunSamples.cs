using System.Text;
using System.Text.Json;
using Handbook.Training;

namespace Handbook.Watching;

/// <summary>What a model said at some steps.</summary>
/// <param name="First">The first step.</param>
/// <param name="Last">The last of the steps behind one another at which it said the same.</param>
/// <param name="Text">What it said.</param>
/// <param name="Reward">What it was given for it, where it was.</param>
internal sealed record AnswerOverSteps(int First, int Last, string Text, double? Reward);

/// <summary>A prompt, and what the model said to it over the training.</summary>
/// <param name="Prompt">As the model reads it.</param>
/// <param name="Known">Answers that the data has, such as <c>chosen</c>, by name.</param>
/// <param name="Answers">In the order of the steps.</param>
internal sealed record SampledPrompt(string Prompt, IReadOnlyDictionary<string, string> Known, IReadOnlyList<AnswerOverSteps> Answers);

/// <summary>The answers that a run writes while it trains: <c>samples.jsonl</c> of its evaluations, or else <c>completions.jsonl</c>.</summary>
internal static class RunSamples
{
    private static readonly string[] s_known = ["reference", "chosen", "rejected"];

    /// <summary>The prompts of the last megabytes of the file, those asked last before others; empty where there is none.</summary>
    /// <param name="folder">A run's folder.</param>
    /// <param name="most">Most prompts.</param>
    /// <param name="bytes">How much of the file's end is read.</param>
    public static IReadOnlyList<SampledPrompt> Read(string folder, int most = 32, long bytes = 8 << 20)
    {
        var path = ((string[])[RunFolder.SamplesName, RunFolder.CompletionsName]).Select(name => Path.Combine(folder, name))
            .FirstOrDefault(File.Exists);
        if (path is null)
            return [];
        var prompts = new Dictionary<string, List<(int Step, string Text, double? Reward, Dictionary<string, string> Known)>>();
        foreach (var line in Tail(path, bytes))
            if (Parse(line) is { } row)
            {
                if (!prompts.TryGetValue(row.Prompt, out var said))
                    prompts[row.Prompt] = said = [];
                said.Add((row.Step, row.Text, row.Reward, row.Known));
            }
        return [.. prompts.OrderByDescending(prompt => prompt.Value[^1].Step).Take(most).Select(prompt =>
            new SampledPrompt(prompt.Key, prompt.Value[^1].Known, Joined(prompt.Value)))];
    }

    private static List<AnswerOverSteps> Joined(List<(int Step, string Text, double? Reward, Dictionary<string, string> Known)> said)
    {
        var joined = new List<AnswerOverSteps>();
        foreach (var (step, text, reward, _) in said)
            if (joined.Count > 0 && joined[^1] is var before && before.Text == text && before.Reward == reward)
                joined[^1] = before with { Last = step };
            else
                joined.Add(new(step, step, text, reward));
        return joined;
    }

    private static (int Step, string Prompt, string Text, double? Reward, Dictionary<string, string> Known)? Parse(string line)
    {
        try
        {
            using var json = JsonDocument.Parse(line);
            var root = json.RootElement;
            // A pipeline's file of the same name has no steps; a last line may be half written.
            if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("step", out var step) || !step.TryGetInt32(out var number)
                || !root.TryGetProperty("prompt", out var prompt)
                || !(root.TryGetProperty("answer", out var answer) || root.TryGetProperty("completion", out answer)))
                return null;
            var known = s_known.Where(name => root.TryGetProperty(name, out _)).ToDictionary(name => name,
                name => Text(root.GetProperty(name)));
            return (number, Text(prompt), Text(answer), root.TryGetProperty("reward", out var reward)
                && reward.ValueKind == JsonValueKind.Number ? reward.GetDouble() : null, known);
        }
        catch (Exception problem) when (problem is JsonException or InvalidOperationException)
        {
            return null;
        }
    }

    // A text, or the turns of a conversation.
    private static string Text(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => value.GetString()!,
        JsonValueKind.Array => string.Join('\n', value.EnumerateArray().Select(turn => turn.ValueKind == JsonValueKind.Object
            && turn.TryGetProperty("role", out var role) && turn.TryGetProperty("content", out var content)
            ? $"{role}: {content}" : turn.GetRawText())),
        _ => value.GetRawText(),
    };

    private static string[] Tail(string path, long bytes)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        var from = Math.Max(0, file.Length - bytes);
        file.Seek(from, SeekOrigin.Begin);
        using var reader = new StreamReader(file, Encoding.UTF8);
        if (from > 0)
            reader.ReadLine();      // it may have begun before
        return reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }
}
