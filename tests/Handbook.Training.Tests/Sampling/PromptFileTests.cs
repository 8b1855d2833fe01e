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
        var prompts = PromptFile.Read(_folder["prompts.jsonl"]).Prompts;
        Assert.Equal("""{"tools":[{"name":"f"}],"chat_template_kwargs":{"enable_thinking":false}}""", prompts[0].Inputs!.ToJson());
        Assert.Null(prompts[1].Inputs);
    }

    [Fact]
    public void Tools_that_are_none_are_told_with_their_row()
    {
        File.WriteAllText(_folder["prompts.jsonl"], """{"prompt": "rain?", "tools": 7}""");
        var problem = Assert.Throws<InputException>(() => PromptFile.Read(_folder["prompts.jsonl"]));
        Assert.EndsWith("prompts.jsonl:1: wrong type: tools is a number", problem.What);
        Assert.NotNull(problem.Fix);
    }

    [Fact]
    public void A_folder_of_data_is_read_as_data_sources_read_it()
    {
        Directory.CreateDirectory(_folder["set"]);
        File.WriteAllText(Path.Combine(_folder["set"], "train.jsonl"), """{"question": "rain?"}""");
        File.WriteAllText(Path.Combine(_folder["set"], "test.txt"), "sun?\n\nsnow?\n");
        Assert.Equal(["rain?"], PromptFile.Read(_folder["set"]).Prompts.Select(prompt => prompt.Text));
        var test = PromptFile.Read(_folder["set"], split: "test");
        Assert.Equal(["sun?", "snow?"], test.Prompts.Select(prompt => prompt.Text));
        Assert.Equal([Path.Combine(_folder["set"], "test.txt")], test.Files);
    }

    [Fact]
    public void What_is_no_data_says_what_it_is()
    {
        Directory.CreateDirectory(_folder["empty"]);
        Assert.Contains("no data files in the folder", Assert.Throws<InputException>(() => PromptFile.Read(_folder["empty"])).What);
        Assert.StartsWith("there is no file or folder ", Assert.Throws<InputException>(() =>
            PromptFile.Read(_folder["nowhere.jsonl"])).What);
        File.WriteAllText(_folder["other.jsonl"], """{"ask": "rain?"}""");
        Assert.Equal("call the column with the prompts \"prompt\"",
            Assert.Throws<InputException>(() => PromptFile.Read(_folder["other.jsonl"])).Fix);
        File.WriteAllText(_folder["blank.txt"], "\n\n");
        Assert.EndsWith("has no row that can be read", Assert.Throws<InputException>(() => PromptFile.Read(_folder["blank.txt"])).What);
    }

    [Fact]
    public void What_of_a_row_is_not_read_is_counted()
    {
        const string row = """{"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "rain?"}], "system": "s"}""";
        File.WriteAllText(_folder["prompts.jsonl"], row + "\n" + row + "\n");
        Assert.Contains(": 2 rows: the conversation has a system turn of its own",
            Assert.Single(PromptFile.Read(_folder["prompts.jsonl"]).Remarks));
    }
}
