using Handbook.Base;
using Handbook.Testing;
using Handbook.Training.Sampling;

namespace Handbook.Training.Tests.Sampling;

public sealed class PromptFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void What_the_chat_template_reads_beside_a_prompt_comes_with_it()
    {
        File.WriteAllText(_folder["prompts.jsonl"], """
            {"prompt": "rain?", "tools": [{"name": "f"}], "documents": "[]", "chat_template_kwargs": {"enable_thinking": false}}
            {"prompt": "sun?", "tools": null}
            """);
        var prompts = PromptFile.Read(_folder["prompts.jsonl"]);
        Assert.Equal("""{"tools":[{"name":"f"}],"chat_template_kwargs":{"enable_thinking":false}}""", prompts[0].Inputs!.ToJson());
        Assert.Null(prompts[1].Inputs);
    }

    [Fact]
    public void Tools_that_are_none_are_told_with_their_row()
    {
        File.WriteAllText(_folder["prompts.jsonl"], """{"prompt": "rain?", "tools": 7}""");
        var problem = Assert.Throws<InputException>(() => PromptFile.Read(_folder["prompts.jsonl"]));
        Assert.EndsWith("prompts.jsonl:1: tools is a number", problem.What);
        Assert.NotNull(problem.Fix);
    }
}
