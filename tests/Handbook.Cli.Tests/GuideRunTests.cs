using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>The chapters of the guide, each typed from its first line to its last, with little data and few steps.</summary>
public sealed class GuideRunTests : IDisposable
{
    private const string Sft = "./handbook sft recipes/tiny/sft.yaml";

    // A document, and what stands on a reader's machine who comes to it: what the chapters before it wrote.
    private static readonly Dictionary<string, string[]> s_before = new()
    {
        ["docs/guide/sft.md"] = [],
        ["docs/guide/data.md"] = [],
        ["docs/guide/preference-data.md"] = [Sft],
        ["docs/guide/reward-modelling.md"] = [Sft],
        ["docs/guide/rejection-sampling.md"] = [Sft, "./handbook dpo recipes/tiny/dpo.yaml"],
        ["docs/guide/grpo.md"] = [Sft],
        ["docs/guide/dpo.md"] = [Sft],
        ["docs/guide/orpo-and-kto.md"] = [Sft],
        ["docs/guide/optimisers.md"] = [],
        ["docs/guide/gpu.md"] = [],
        ["docs/guide/evaluation.md"] = [Sft, "./handbook reward recipes/tiny/reward.yaml"],
        ["docs/quantised-weights.md"] = [Sft],
        ["docs/guide/taking-your-model-elsewhere.md"] =
        [
            Sft, "./handbook init --config recipes/tiny/config.json --tokenizer data/tiny/tokenizer --output models/tiny",
            Adapter("sft", "models/tiny", "runs/sft-lora"),
        ],
        ["docs/guide/merging-adapters.md"] =
        [
            "./handbook init --config recipes/tiny/config.json --tokenizer data/tiny/tokenizer --output models/tiny",
            Adapter("sft", "models/tiny", "runs/sft-lora"),
            Adapter("dpo", "runs/sft-lora", "runs/dpo-lora"),
            Adapter("dpo", "models/tiny", "runs/dpo-qlora") + " --load_in_4bit=true",
            Adapter("sft", "models/tiny", "runs/a"),
            Adapter("sft", "models/tiny", "runs/b") + " --learning_rate=1.0e-3",
        ],
    };

    // Those that a test of their own types.
    private static readonly string[] s_elsewhere =
    [
        "README.md", "docs/guide/adapters.md", "docs/guide/bring-your-model.md", "docs/guide/coming-from-python.md", "docs/guide/hub.md",
        "docs/guide/many-processes.md", "docs/guide/runs.md", "docs/guide/serving.md", "docs/scale.md",
    ];

    private readonly HandbookProcess _handbook = new();

    public void Dispose() => _handbook.Dispose();

    public static TheoryData<string> Chapters() => [.. s_before.Keys];

    [Theory, Trait("speed", "slow"), MemberData(nameof(Chapters))]
    public void Every_command_of_a_chapter_runs(string chapter)
    {
        GuideChapter.Prepare(_handbook);
        File.Copy(Path.Combine(SharedFiles.Repository, "README.md"), Path.Combine(_handbook.Folder, "held-out.txt"));
        File.Copy(Path.Combine(_handbook.Folder, "held-out.txt"), Path.Combine(_handbook.Folder, "my-texts.txt"));
        foreach (var (name, text) in GuideChapter.Files(chapter))
            _handbook.Write(name, text);
        foreach (var line in s_before[chapter])
            Type(line);
        var typed = GuideChapter.Commands(chapter).ToArray();
        Assert.NotEmpty(typed);
        foreach (var line in typed)
            Type(line);
    }

    [Fact, Trait("speed", "slow")]
    public void The_way_of_the_demo_runs_from_an_empty_folder()
    {
        Directory.CreateSymbolicLink(Path.Combine(_handbook.Folder, "recipes"), Path.Combine(SharedFiles.Repository, "recipes"));
        var guide = GuideChapter.Commands("docs/guide/README.md").ToArray();
        var recipes = GuideChapter.Commands("recipes/tiny/README.md").ToArray();
        Assert.Equal(guide, recipes[..guide.Length]);
        foreach (var line in recipes)
            Type(line);
    }

    [Fact]
    public void Every_document_with_commands_has_a_test_that_types_them()
    {
        string[] typed = [.. s_before.Keys, .. s_elsewhere, "docs/guide/README.md", "recipes/tiny/README.md",
            .. Recipes.RecipeGuidesTests.Folders().Select(folder => $"recipes/{folder.Data}/README.md")];
        Assert.Equal(GuideChapter.Documents(), typed.Order(StringComparer.Ordinal));
    }

    private static string Adapter(string method, string below, string output) =>
        $"./handbook {method} recipes/tiny/{method}.yaml --model_name_or_path={below} --use_peft=true --lora_target_modules=all-linear "
        + $"--output_dir={output}";

    private void Type(string line)
    {
        var words = GuideChapter.Short(GuideChapter.Words(line));
        if (words[0] != "chat")
        {
            GuideChapter.Run(_handbook, words);
            return;
        }
        using var chat = _handbook.Start(words, input: true);
        chat.StandardInput.WriteLine("Hello.");
        chat.StandardInput.Close();
        var (output, error) = (chat.StandardOutput.ReadToEndAsync(), chat.StandardError.ReadToEndAsync());
        chat.WaitForExit();
        Assert.True(chat.ExitCode == 0, $"{line}\n{error.Result}");
        Assert.NotEqual("", output.Result);
    }
}
