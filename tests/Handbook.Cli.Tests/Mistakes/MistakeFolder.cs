using System.Security.Cryptography;
using System.Text.RegularExpressions;
using Handbook.Cli.Tests.BadInput;

namespace Handbook.Cli.Tests.Mistakes;

/// <summary>A folder with everything that a run of one method needs: <c>r.yaml</c>, <c>model/</c>, <c>rows.jsonl</c>. Whatever is done to
/// it is written down, so that the golden file tells it.</summary>
internal sealed partial class MistakeFolder : IDisposable
{
    private const int ShownCharacters = 160;

    private readonly TinyRun _run = new();
    private readonly Dictionary<string, string?> _environment = [];
    private readonly List<string> _done = [];
    private readonly List<string> _words = [];

    /// <param name="method">The command that the recipe is for.</param>
    public MistakeFolder(string method)
    {
        _run.Write("rows.jsonl", string.Concat(Enumerable.Range(0, 8).Select(i => Row(method, i) + "\n")));
        if (method is "grpo")
            _run.Write("r.yaml", TinyRun.Recipe.Replace("max_length", "max_prompt_length", StringComparison.Ordinal)
                .Replace("64", "32", StringComparison.Ordinal) + Sampled + "reward_funcs: exact_match\n");
        else if (method is "rejection-sample")
            _run.Write("r.yaml", "model_name_or_path: model\ndataset_name: rows.jsonl\nmax_length: 64\nbf16: false\noutput_dir: out\n"
                + "train_method: none\nnum_generations: 4\nmax_completion_length: 24\nreward_funcs: length\nstop_texts: [e]\n");
        foreach (var name in new[] { "HANDBOOK_MODELS", "HANDBOOK_DATA", "HF_TOKEN", "HF_ENDPOINT" })
            _environment[name] = null;
        _environment["HANDBOOK_CACHE"] = At("handbook-cache");
        _environment["HF_HOME"] = At("hub");
    }

    private const string Sampled = "num_generations: 2\nmax_completion_length: 4\n";

    /// <summary>What was done since the last time that somebody asked, a line each.</summary>
    public IReadOnlyList<string> Done()
    {
        string[] done = [.. _done];
        _done.Clear();
        return done;
    }

    /// <summary>The keys that the command line has.</summary>
    public IReadOnlyList<string> CommandLine => _words;

    public string At(params string[] parts) => _run.At(parts);

    /// <summary>Adds lines to the recipe.</summary>
    public void Add(string lines) => Edit(text => text + lines + "\n");

    /// <summary>Puts lines in the place of that of a key, and of what is indented below it.</summary>
    public void Set(string key, string lines) => Edit(text =>
    {
        var left = Without(text, key, out var at);
        left.InsertRange(at, lines.Split('\n'));
        return string.Join('\n', left);
    });

    /// <summary>Takes a key out of the recipe.</summary>
    public void Remove(params string[] keys) =>
        Edit(text => keys.Aggregate(text, (left, key) => string.Join('\n', Without(left, key, out _))));

    /// <summary>Writes another recipe.</summary>
    public void Whole(string text) => Edit(_ => text);

    /// <summary>Writes a file.</summary>
    public void Write(string name, string text)
    {
        _run.Write(name, text);
        _done.Add($"{name}: {Shown(text)}");
    }

    /// <summary>Changes a text in a file.</summary>
    public void Replace(string name, string old, string @new)
    {
        _run.Replace(name, old, @new);
        _done.Add(@new.Length == 0 ? $"{name}: without {Shown(old)}" : $"{name}: {Shown(old)} is now {Shown(@new)}");
    }

    /// <summary>Changes a file's bytes.</summary>
    public void Bytes(string name, string what, Func<byte[], byte[]> change)
    {
        File.WriteAllBytes(At(name), change(File.Exists(At(name)) ? File.ReadAllBytes(At(name)) : []));
        _done.Add($"{name}: {what}");
    }

    /// <summary>Removes a file or a folder.</summary>
    public void Delete(string name)
    {
        if (Directory.Exists(At(name)))
            Directory.Delete(At(name), recursive: true);
        else
            File.Delete(At(name));
        _done.Add($"{name} is removed");
    }

    /// <summary>Copies a folder's files, or a file.</summary>
    public void Copy(string from, string to)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(At(to))!);
        if (Directory.Exists(At(from)))
            TinyRun.Copy(At(from), At(to));
        else
            File.Copy(At(from), At(to), overwrite: true);
        _done.Add($"{to} is a copy of {from}");
    }

    /// <summary>Copies a folder from another run, where it is whole.</summary>
    public void Bring(MistakeFolder from, string name)
    {
        TinyRun.Copy(from.At(name), At(name));
        _done.Add($"{name} is fetched again");
    }

    /// <summary>Makes an empty folder.</summary>
    public void MakeFolder(string name)
    {
        Directory.CreateDirectory(At(name));
        _done.Add($"{name}/ is empty");
    }

    /// <summary>Sets an environment variable; null removes it.</summary>
    public void Variable(string name, string? value)
    {
        _environment[name] = value;
        _done.Add(value is null ? $"{name} is not set" : $"{name}={value}");
    }

    /// <summary>Keys on the command line, in the place of those before.</summary>
    public void Words(params string[] words)
    {
        _words.Clear();
        _words.AddRange(words);
        _done.Add(words.Length == 0 ? "nothing on the command line" : $"on the command line: {string.Join(' ', words)}");
    }

    /// <summary>Runs a command that has to succeed, as part of what is done.</summary>
    public void Succeed(params string[] words)
    {
        var outcome = Run(words);
        Assert.True(outcome.Code == 0, $"handbook {string.Join(' ', words)}: {outcome.Code}\n{outcome.Error}");
        _done.Add($"handbook {string.Join(' ', words)}");
    }

    /// <summary>Runs a command here.</summary>
    public Outcome Run(params string[] words) => InProcess.Run(_run.Handbook.Folder, _environment, words);

    /// <summary>A text without what differs from one machine to the next: the name of this folder, and the library and processor.</summary>
    public string Plain(string text) =>
        Library().Replace(text.Replace(_run.Handbook.Folder, "HERE", StringComparison.Ordinal), "LIBRARY");

    /// <summary>Every file, the cache's apart, with a hash of what is in it.</summary>
    public IReadOnlyDictionary<string, string> Files() => Directory.EnumerateFileSystemEntries(_run.Handbook.Folder, "*",
        SearchOption.AllDirectories)
        .Where(path => !path.StartsWith(At("handbook-cache"), StringComparison.Ordinal))
        .ToDictionary(Plain, path => Directory.Exists(path) ? "" : Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(path))));

    private void Edit(Func<string, string> change)
    {
        var before = File.Exists(At("r.yaml")) ? _run.Read("r.yaml") : "";
        var after = change(before);
        _run.Write("r.yaml", after);
        var (old, @new) = (before.Split('\n'), after.Split('\n'));
        _done.AddRange(old.Except(@new).Select(line => $"r.yaml - {line}"));
        _done.AddRange(@new.Except(old).Select(line => $"r.yaml + {line.Replace("\t", "<tab>", StringComparison.Ordinal)}"));
    }

    private static List<string> Lines(string text) => [.. text.Split('\n')];

    private static List<string> Without(string text, string key, out int at)
    {
        var lines = Lines(text);
        var first = lines.FindIndex(line => line.StartsWith(key + ":", StringComparison.Ordinal));
        Assert.True(first >= 0, $"no line {key} in\n{text}");
        at = first;
        var end = first + 1;
        while (end < lines.Count && lines[end].Length > 0
            && (lines[end][0] == ' ' || lines[end].StartsWith("- ", StringComparison.Ordinal)))
            end++;
        lines.RemoveRange(first, end - first);
        return lines;
    }

    private static string Shown(string text)
    {
        var line = text.TrimEnd('\n').Replace("\n", "⏎", StringComparison.Ordinal).Replace("\t", "<tab>", StringComparison.Ordinal);
        return line.Length == 0 ? "(empty)" : line.Length <= ShownCharacters ? line : line[..ShownCharacters] + "…";
    }

    private static string Row(string method, int i) => method switch
    {
        "sft" => $$"""{"messages": [{"role": "user", "content": "number {{i}}?"}, {"role": "assistant", "content": "it is {{i}}"}]}""",
        "cpt" => $$"""{"text": "number {{i}}, it is the answer {{i}}"}""",
        "kto" or "bco" => $$"""{"prompt": "number {{i}}?", "completion": " it is {{i}}", "label": {{(i % 2 == 0 ? "true" : "false")}}}""",
        "grpo" or "rejection-sample" => $$"""{"prompt": "number {{i}}?", "answer": "{{i}}"}""",
        _ => $$"""{"prompt": "number {{i}}?", "chosen": " it is {{i}}", "rejected": " it is the answer"}""",
    };

    public void Dispose() => _run.Dispose();

    // The line that says what computes.
    [GeneratedRegex(@"^libtorch \d.*$", RegexOptions.Multiline)]
    private static partial Regex Library();
}
