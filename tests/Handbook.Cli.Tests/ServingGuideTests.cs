using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>The chapter on serving, typed from its first line to its last: each server is asked with the calls that stand below it.</summary>
public sealed class ServingGuideTests : IDisposable
{
    private const string Chapter = "docs/guide/serving.md";

    private readonly HandbookProcess _handbook = new();

    public void Dispose() => _handbook.Dispose();

    [Fact, Trait("speed", "slow")]
    public void Every_command_of_the_chapter_runs()
    {
        GuideChapter.Prepare(_handbook);
        foreach (var line in (string[])["init --config recipes/tiny/config.json --tokenizer data/tiny/tokenizer --output models/tiny",
            "sft recipes/tiny/sft.yaml", "sft recipes/tiny/sft.yaml --model_name_or_path=models/tiny --use_peft=true --lora_target_modules=all-linear --output_dir=runs/a",
            "sft recipes/tiny/sft.yaml --model_name_or_path=models/tiny --use_peft=true --lora_target_modules=all-linear --output_dir=runs/b"])
            GuideChapter.Run(_handbook, GuideChapter.Short(line.Split(' ')));
        var (servers, calls) = (0, 0);
        RunningServer? server = null;
        try
        {
            foreach (var block in File.ReadAllText(Path.Combine(SharedFiles.Repository, Chapter)).Split("```bash\n").Skip(1).Select(part => part.Split("```")[0].Trim()))
                if (block.StartsWith("curl", StringComparison.Ordinal))
                {
                    calls++;
                    var answer = SmallModel.Succeed(_handbook.RunOther("sh", "-c", block.Replace("http://127.0.0.1:8000/v1", server!.Address.ToString(), StringComparison.Ordinal)
                        .Replace("curl ", "curl -sSf ", StringComparison.Ordinal)));
                    Assert.Contains("\"model\":\"tiny-sft\"", answer.Output, StringComparison.Ordinal);
                }
                else
                {
                    servers++;
                    if (server is not null)
                        Assert.Equal(0, server.Interrupt().Code);
                    server?.Dispose();
                    server = new(_handbook, GuideChapter.Words(block[block.IndexOf("./handbook", StringComparison.Ordinal)..])[1..]);
                }
            Assert.Equal(0, server!.Interrupt().Code);
        }
        finally
        {
            server?.Dispose();
        }
        Assert.Equal((4, 4), (servers, calls));
    }
}
