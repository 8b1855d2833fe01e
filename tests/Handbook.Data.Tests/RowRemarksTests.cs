using System.Text.Json;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Testing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Tests;

public sealed class RowRemarksTests
{
    private const string Behind = "{% for message in messages %}{{ message['content'] + eos_token }}{% endfor %}";

    [Theory] // their added tokens are normalized: "</s>" is one token at the beginning of a text or behind a blank, and pieces behind a word
    [InlineData("models", "tinystories-656k", Behind, true)]
    [InlineData("models", "tinystories-656k", "{{ messages[0]['content'] }}", false)]
    [InlineData("tokenizers", "llama2", Behind, true)]
    [InlineData("tokenizers", "llama2", "{% for message in messages %}{{ message['content'] + ' ' + eos_token }}{% endfor %}", false)]
    [InlineData("tokenizers", "qwen2.5", Behind, false)]
    [InlineData("tokenizers", "llama3", Behind, false)]
    public void An_end_token_that_is_split_where_it_stands_is_told(string kind, string name, string template, bool told)
    {
        var tokenizer = Tokenizer.Load(SharedFiles.Need(kind, name)).With(chatTemplate: template);
        Assert.NotNull(tokenizer.EosId);
        var end = tokenizer.SpecialTokens["eos_token"];
        var chat = new Conversation { Messages = JsonSerializer.SerializeToElement(new[] { new { role = "user", content = "Once" }, new { role = "assistant", content = "there was." } }) };
        var said = RowRemarks.SplitEnd(tokenizer, new ChatRowEncoder(tokenizer, ChatTemplate.Parse(template, "chat_template")), chat);
        if (told)
            Assert.Contains($"splits into {tokenizer.Encode("Once" + end, addSpecialTokens: false).Length - tokenizer.Encode("Once", addSpecialTokens: false).Length} pieces", said);
        else
            Assert.Null(said);
    }

    [Theory]
    [InlineData(null, true)]
    [InlineData("preference", false)]       // read: nothing to tell
    public void A_column_of_verdicts_that_is_not_read_is_told(string? mapped, bool told)
    {
        using var folder = new TemporaryFolder();
        var file = Path.Combine(folder.Path, "rows.jsonl");
        File.WriteAllText(file, """{"instruction": "1 + 1?", "output_1": "2", "output_2": "3", "preference": 1}""" + "\n" + """{"instruction": "1 + 2?", "output_1": "2", "output_2": "3", "preference": 2}""" + "\n");
        var mapping = new Dictionary<string, string> { ["prompt"] = "instruction", ["chosen"] = "output_1", ["rejected"] = "output_2" };
        if (mapped is not null)
            mapping["preference"] = mapped;
        var spec = new DatasetSpec { Id = file, ColumnMapping = mapping };
        var source = Dataset.Open(spec);
        Assert.Equal(told, RowReader.For(source, spec, RowUse.Preferences).IgnoresPreference);
    }
}
