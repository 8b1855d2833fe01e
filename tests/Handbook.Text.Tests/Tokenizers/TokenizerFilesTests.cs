using System.Text.Json;
using Handbook.Base;
using Handbook.Testing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Tokenizers;

public sealed class TokenizerFilesTests
{
    public static TheoryData<string> Refusals => [.. ComponentGolden.Items("refused.json", "name")];

    public static TheoryData<string> Truncations => [.. ComponentGolden.Items("truncation_padding.json", "name")];

    public static TheoryData<string> SmallTokenizers => [.. Cases().Select(pair => pair.Name).DefaultIfEmpty("absent")];

    [Theory, MemberData(nameof(Refusals)), Trait("kind", "golden")]
    public void A_file_is_refused_where_the_reference_refuses_it(string name)
    {
        var item = ComponentGolden.Item("refused.json", name);
        var bytes = System.Text.Encoding.UTF8.GetBytes(item.GetProperty("text").GetString()!);
        var failure = Record.Exception(() => Tokenizer.FromJson(bytes));
        if (item.GetProperty("loads").GetBoolean())
            Assert.Null(failure);
        else
            Assert.IsType<InputException>(failure, exactMatch: false);
    }

    [Theory, MemberData(nameof(Truncations)), Trait("kind", "golden")]
    public void Truncation_and_padding_sections_change_no_ids(string name)
    {
        var json = ComponentGolden.Item("truncation_padding.json", name).GetProperty("tokenizer");
        var with = Tokenizer.FromJson(JsonSerializer.SerializeToUtf8Bytes(json));
        var members = json.EnumerateObject().Where(member => member.Name is not ("truncation" or "padding"))
            .ToDictionary(member => member.Name, member => member.Value);
        var without = Tokenizer.FromJson(JsonSerializer.SerializeToUtf8Bytes(members));
        foreach (var row in ComponentGolden.Item("truncation_padding.json", name).GetProperty("cases").EnumerateArray())
        {
            var text = row.GetProperty("text").GetString()!;
            Assert.Equal(without.Encode(text), with.Encode(text));
        }
    }

    [Theory, MemberData(nameof(SmallTokenizers)), Trait("kind", "golden")]
    public void A_small_tokenizer_gives_the_recorded_ids_and_text(string name)
    {
        SharedFiles.Need("models", "hf-architectures", "hf_tokenizer_cases.json");
        var item = Cases().Single(pair => pair.Name == name).Item;
        var tokenizer = Tokenizer.Load(SharedFiles.Need("models", "hf-architectures", item.GetProperty("tokenizer").GetString()!));
        var report = new List<string>();
        foreach (var row in item.GetProperty("cases").EnumerateArray())
        {
            var text = row.GetProperty("text").GetString()!;
            TokenizerGolden.Same(report, text, TokenizerGolden.Ids(row, "ids"), tokenizer.Encode(text, addSpecialTokens: false));
            TokenizerGolden.Same(report, text, [row.GetProperty("decoded").GetString()!],
                [tokenizer.Decode(TokenizerGolden.Ids(row, "ids"), skipSpecialTokens: true)]);
        }
        Assert.True(report.Count == 0, string.Join('\n', report));
    }

    [Fact, Trait("kind", "golden")]
    public void The_tokenizer_of_a_real_model_gives_the_ids_of_its_golden_file()
    {
        using var golden = JsonDocument.Parse(File.ReadAllBytes(SharedFiles.Need("models", "tinystories-656k", "golden.json")));
        var tokenizer = Tokenizer.Load(SharedFiles.Need("models", "tinystories-656k"));
        foreach (var row in golden.RootElement.GetProperty("cases").EnumerateArray())
        {
            // a prompt that brings its own start token needs no second one
            var prompt = row.GetProperty("prompt").GetString()!;
            Assert.Equal(TokenizerGolden.Ids(row, "ids"),
                tokenizer.Encode(prompt, addSpecialTokens: !prompt.StartsWith("<|start_story|>", StringComparison.Ordinal)));
        }
        foreach (var row in golden.RootElement.GetProperty("eval").GetProperty("rows").EnumerateArray())
            Assert.Equal(TokenizerGolden.Ids(row, "ids"), tokenizer.Encode(row.GetProperty("text").GetString()!, addSpecialTokens: false));
        Assert.Equal((1, 2), (tokenizer.BosId, tokenizer.EosId));
    }

    [Theory, InlineData("llama2"), InlineData("llama3"), InlineData("qwen2.5")]
    public void A_saved_tokenizer_opens_again_with_the_same_ids_tokens_and_template(string name)
    {
        using var folder = new TemporaryFolder();
        var before = Tokenizer.Load(SharedFiles.Need("tokenizers", name));
        before.Save(folder.Path);
        var after = Tokenizer.Load(folder.Path);
        Assert.Equal(before.Fingerprint, after.Fingerprint);
        Assert.Equal(before.SpecialTokens, after.SpecialTokens);
        Assert.Equal(before.ChatTemplate, after.ChatTemplate);
        Assert.Equal(before.ModelMaxLength, after.ModelMaxLength);
        Assert.Equal(before.Encode("Hello, wörld! 𝔉 123"), after.Encode("Hello, wörld! 𝔉 123"));
    }

    [Fact]
    public void A_changed_copy_is_saved_with_its_changes_and_leaves_the_original_alone()
    {
        using var folder = new TemporaryFolder();
        var original = Tokenizer.Load(SharedFiles.Need("tokenizers", "qwen2.5"));
        var changed = original.With(eosToken: "<|endoftext|>", padToken: "<|im_end|>", chatTemplate: "{{ messages }}");
        changed.Save(folder.Path);
        var read = Tokenizer.Load(folder.Path);
        Assert.Equal((151643, 151645, "{{ messages }}"), (read.EosId, read.PadId, read.ChatTemplate));
        Assert.Equal((151645, 151643), (original.EosId, original.PadId));
        Assert.False(File.ReadAllText(folder["tokenizer_config.json"]).Contains("chat_template"), "the template stands in one place only");
    }

    [Fact]
    public void The_template_file_wins_over_the_configuration()
    {
        using var folder = new TemporaryFolder();
        Some.ByteTokenizer().Save(folder.Path);
        File.WriteAllText(folder["tokenizer_config.json"],
            """{"chat_template": [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "T"}]}""");
        Assert.Equal("A", Tokenizer.Load(folder.Path).ChatTemplate);
        File.WriteAllText(folder["chat_template.jinja"], "B");
        var tokenizer = Tokenizer.Load(folder.Path);
        Assert.Equal(("B", "T"), (tokenizer.ChatTemplate, tokenizer.ChatTemplates["tool_use"]));
    }

    private static IEnumerable<(string Name, JsonElement Item)> Cases()
    {
        var file = SharedFiles.Root is { } root ? Path.Combine(root, "models", "hf-architectures", "hf_tokenizer_cases.json") : "";
        if (!File.Exists(file))
            yield break;
        using var document = JsonDocument.Parse(File.ReadAllBytes(file));
        // some cases name tokenizers that were not published with them
        foreach (var member in document.RootElement.EnumerateObject())
            if (member.Value.GetProperty("tokenizer").GetString()!.EndsWith(".json", StringComparison.Ordinal)
                && File.Exists(Path.Combine(Path.GetDirectoryName(file)!, member.Value.GetProperty("tokenizer").GetString()!)))
                yield return (member.Name, member.Value.Clone());
    }
}
