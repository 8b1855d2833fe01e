using Handbook.Testing;
using Handbook.Testing.Hub;

namespace Handbook.Cli.Tests.Hub;

/// <summary>The chapter on the hub, typed from its first line to its last, with the stand-in in the hub's place.</summary>
public sealed class HubGuideTests : IDisposable
{
    private readonly HubFolder _at = new();

    public void Dispose() => _at.Dispose();

    [Fact]
    public void Every_command_of_the_chapter_runs()
    {
        Directory.CreateSymbolicLink(_at.Run.At("recipes"), Path.Combine(SharedFiles.Repository, "recipes"));
        _at.Hub.AddFolder("models", "HuggingFaceTB/SmolLM2-135M", _at.Run.At("model"));
        _at.Hub.Add("datasets", "HuggingFaceTB/smol-smoltalk", ("data/train-00000-of-00001.jsonl", _at.Run.Read("rows.jsonl")),
            ("data/test-00000-of-00001.jsonl", _at.Run.Read("rows.jsonl").Replace("number", "figure")));
        _at.Run.Write("token.txt", StandInHub.Token + "\n");
        // The chapter comes to tokens last; whoever publishes has one.
        var lines = GuideChapter.Lines("hub.md").OrderByDescending(line => line.Contains(" login ", StringComparison.Ordinal)).ToArray();
        Assert.True(lines.Length > 10);
        foreach (var line in lines)
            _at.Succeed([.. GuideChapter.Words(line),
                .. line.Contains("handbook sft", StringComparison.Ordinal) || line.Contains("validate", StringComparison.Ordinal)
                    ? (string[])["--max_length=64", "--packing=false", "--assistant_only_loss=false"] : []]);
        Assert.Equal(["main", "v1.0"], _at.Hub.Repositories["models/tester/my-model"].Refs.Keys.Order(StringComparer.Ordinal));
    }
}
