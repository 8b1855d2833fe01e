using Handbook.Cli.Tests.BadInput;
using Handbook.Testing.Hub;

namespace Handbook.Cli.Tests.Hub;

/// <summary>A folder with a tiny model and its rows, both also on a stand-in of the hub, as <c>org/model</c> and <c>org/rows</c>.</summary>
internal sealed class HubFolder : IDisposable
{
    public HubFolder()
    {
        Hub.AddFolder("models", "org/model", Run.At("model"));
        Rows = Hub.Add("datasets", "org/rows", ("README.md", "---\nlicense: mit\n---\n"), ("data/train_sft-00000-of-00001.jsonl",
            Run.Read("rows.jsonl")),
            ("data/test_sft-00000-of-00001.jsonl", Run.Read("rows.jsonl")), ("raw/big.jsonl", new string('x', 1000)));
        Run.Write("hub.yaml", TinyRun.Recipe.Replace("model_name_or_path: model", "model_name_or_path: org/model")
            .Replace("dataset_name: rows.jsonl", "dataset_name: org/rows\ndataset_train_split: train_sft"));
    }

    public StandInHub Hub { get; } = new();

    public StandInRepository Rows { get; }

    public TinyRun Run { get; } = new();

    /// <summary>Variables of the environment beside the hub's address.</summary>
    public Dictionary<string, string> Variables { get; } = [];

    public Outcome Handbook(params string[] words) => Run.Handbook.Run(words, TimeSpan.FromMinutes(5), Environment);

    public Outcome Succeed(params string[] words) => SmallModel.Succeed(Handbook(words));

    /// <summary>What a command sees.</summary>
    public Dictionary<string, string> Environment => new(Variables)
    {
        ["HF_HUB_OFFLINE"] = Variables.GetValueOrDefault("HF_HUB_OFFLINE", ""),
        ["HF_ENDPOINT"] = Variables.GetValueOrDefault("HF_ENDPOINT", Hub.Address),
        ["HF_HOME"] = Run.At("home"),
        ["HF_HUB_CACHE"] = "",
        ["HF_TOKEN"] = Variables.GetValueOrDefault("HF_TOKEN", ""),
        ["HUGGING_FACE_HUB_TOKEN"] = "",
        ["HF_TOKEN_PATH"] = "",
    };

    /// <summary>Every file of the folder that holds a text, whatever it is.</summary>
    public IEnumerable<string> Holding(string text) => Directory.EnumerateFiles(Run.Handbook.Folder, "*", SearchOption.AllDirectories)
        .Where(file => File.ReadAllBytes(file).AsSpan().IndexOf(System.Text.Encoding.UTF8.GetBytes(text)) >= 0)
        .Select(file => Path.GetRelativePath(Run.Handbook.Folder, file));

    public void Dispose()
    {
        Hub.Dispose();
        Run.Dispose();
    }
}
