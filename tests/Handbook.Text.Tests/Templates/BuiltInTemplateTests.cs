using System.Text.Json;
using Handbook.Testing;
using Handbook.Text.Templates;

namespace Handbook.Text.Tests.Templates;

public sealed class BuiltInTemplateTests
{
    private const string FiveTurns = """
        [
          {"role": "system", "content": "You are a happy chatbot"},
          {"role": "user", "content": "Hello!"},
          {"role": "assistant", "content": "Bonjour!"},
          {"role": "user", "content": "How are you?"},
          {"role": "assistant", "content": "I am doing well, thanks!"}
        ]
        """;

    private static readonly ChatTemplate _zephyr = ChatTemplate.Parse(ChatTemplate.Zephyr, "zephyr");
    private static readonly ChatTemplate _chatMl = ChatTemplate.Parse(ChatTemplate.ChatMl, "chatml");

    [Fact] // handbook.md 10.2, Z, sft
    public void Zephyr_renders_the_test_conversation() => Assert.Equal(
        "<|system|>\nYou are a happy chatbot</s>\n<|user|>\nHello!</s>\n<|assistant|>\nBonjour!</s>\n<|user|>\nHow are "
            + "you?</s>\n<|assistant|>\nI am doing well, thanks!</s>\n",
        Render(_zephyr, FiveTurns));

    [Fact] // handbook.md 10.2, Z, generation
    public void Zephyr_asks_for_an_answer() => Assert.Equal("<|user|>\nHow are you?</s>\n<|assistant|>\n",
        Render(_zephyr, """[{"role": "user", "content": "How are you?"}]""", prompt: true));

    [Fact] // handbook.md 10.2: a tool turn renders to nothing
    public void Zephyr_leaves_tool_turns_out() =>
        Assert.Equal("<|user|>\na</s>\n", Render(_zephyr, """[{"role": "user", "content": "a"}, {"role": "tool", "content": "t"}]"""));

    [Fact]
    public void Zephyr_works_with_a_tokenizer_that_has_no_end_token() =>
        Assert.Equal("<|user|>\na\n", _zephyr.Render(Chat("""[{"role": "user", "content": "a"}]"""), new()).Text);

    [Fact] // handbook.md 10.2, C1 = C2 = C3
    public void ChatMl_renders_the_test_conversation()
    {
        const string text = "<|im_start|>system\nYou are a happy chatbot<|im_end|>\n<|im_start|>user\nHello!<|im_end|>\n";
        var three = JsonSerializer.Serialize(JsonElement.Parse(FiveTurns).EnumerateArray().Take(3));
        var two = JsonSerializer.Serialize(JsonElement.Parse(FiveTurns).EnumerateArray().Take(2));
        Assert.Equal(text + "<|im_start|>assistant\nBonjour!<|im_end|>\n", Render(_chatMl, three));
        Assert.Equal(text + "<|im_start|>assistant\n", Render(_chatMl, two, prompt: true));
    }

    [Theory]
    [InlineData("handbook-zephyr-7b-beta")]
    [InlineData("handbook-starchat2-15b")]
    public void Built_in_templates_render_every_conversation_as_the_handbook_s(string original)
    {
        var folder = SharedFiles.Need("chat-templates");
        var conversations = JsonElement.Parse(File.ReadAllText(Path.Combine(folder, "conversations.json")));
        var byId = conversations.GetProperty("conversations").EnumerateArray().ToDictionary(row => row.GetProperty("id").GetString()!);
        var template = original.Contains("zephyr", StringComparison.Ordinal) ? _zephyr : _chatMl;
        var tokens = new Dictionary<string, string> { ["eos_token"] = "</s>" };
        foreach (var line in File.ReadLines(Path.Combine(folder, "golden", original + ".jsonl")))
        {
            var row = JsonElement.Parse(line);
            string? text = null;
            try
            {
                text = TemplateGolden.Render(template, byId[row.GetProperty("c").GetString()!], tokens, TemplateGolden.Now(conversations))
                    .Text;
            }
            catch (TemplateException)
            {
                // must be an error in the original, too: compared below
            }
            Assert.Equal(row.TryGetProperty("out", out var expected) ? expected.GetString() : null, text);
        }
    }

    [Theory] // handbook.md 5.2
    [InlineData("{{ messages|tojson }}system", """[{"role": "user", "content": "a"}]""", true)]
    [InlineData("{{ messages|tojson }}<|im_start|>", """[{"role": "user", "content": "a"}]""", true)]
    [InlineData("{{ messages|tojson }}", """[{"role": "user", "content": "a"}]""", false)]
    [InlineData("{{ messages|tojson }}system", """[{"role": "system", "content": "a"}]""", false)]
    public void An_empty_system_turn_is_put_where_the_template_has_a_place(string source, string messages, bool inserted)
    {
        var text = ChatTemplate.Parse(source, "t").Render(Chat(messages), new() { InsertEmptySystemTurn = true }).Text;
        Assert.Equal(inserted, text.StartsWith("""[{"role": "system", "content": ""}, """, StringComparison.Ordinal));
    }

    [Fact] // handbook.md 10.2: "Z, empty inserted system turn" and 5.2: "Empty message lists fail"
    public void The_empty_system_turn_renders_and_an_empty_list_is_refused()
    {
        Assert.Equal("<|system|>\n</s>\n<|user|>\na</s>\n", Render(_zephyr, """[{"role": "user", "content": "a"}]""", system: true));
        var error = Assert.Throws<TemplateException>(() => Render(_zephyr, "[]", system: true));
        Assert.Equal("zephyr: the list of messages is empty", error.What);
    }

    [Fact] // handbook.md 10.3, verified render
    public void SmolLm3_renders_as_the_handbook_says()
    {
        var file = SharedFiles.Need("chat-templates", "templates", "hfjs-HuggingFaceTB-SmolLM3-3B.jinja");
        var template = ChatTemplate.Parse(File.ReadAllText(file), "smollm3");
        var options = new RenderOptions { Now = new DateTime(2025, 7, 24) };
        var rendered = template.Render(Chat("""
            [{"role": "system", "content": "Be brief. /no_think"}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "\nHey"}, {"role": "tool", "content": "T"}]
            """), options);
        var answer = "<|im_start|>assistant\n<think>\n\n</think>\nHey<|im_end|>\n";
        Assert.EndsWith("<|im_start|>user\nHi<|im_end|>\n" + answer + "<|im_start|>user\nT<|im_end|>\n", rendered.Text);
        Assert.StartsWith("<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\nToday Date: 24 July 2025\nReasoning Mode: "
            + "/no_think\n\n## Custom Instructions\n\nBe brief.\n\n", rendered.Text);
        Assert.Equal([answer], rendered.Spans.Select(span => rendered.Text[span.Start..span.End]));
        var raw = template.Render(
            Chat("""[{"role": "system", "content": "Raw prompt /system_override"}, {"role": "user", "content": "Hi"}]"""),
            options with { AddGenerationPrompt = true });
        Assert.Equal("<|im_start|>system\nRaw prompt<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", raw.Text);
    }

    private static string Render(ChatTemplate template, string messages, bool prompt = false, bool system = false) =>
        template.Render(Chat(messages), new()
        {
            AddGenerationPrompt = prompt,
            InsertEmptySystemTurn = system,
            SpecialTokens = new Dictionary<string, string> { ["eos_token"] = "</s>" },
        }).Text;

    private static Conversation Chat(string messages) => new() { Messages = JsonElement.Parse(messages) };
}
