using System.Text.Json;
using Handbook.Base;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Templates;

/// <summary>Encoding with a tokenizer of single bytes made here, so that every token is one letter or one special token.</summary>
public sealed class ChatEncoderTests
{
    private const string Chat = """
        [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi<|im_end|>"}, {"role": "assistant", "content": " Yo 😀 "}, {"role": "user", "content": "?"}, {"role": "assistant", "content": "no"}]
        """;

    private static readonly Tokenizer _tokenizer = TinyTokenizer.WithBegin("</s>", "<|im_start|>", "<|im_end|>");

    [Fact]
    public void Turns_are_masked_with_their_end_token_by_their_rendered_place()
    {
        var encoded = Encode(ChatTemplate.ChatMl, Chat);
        Assert.Equal([" Yo 😀 <|im_end|>", "no<|im_end|>"], Learnt(encoded));
        Assert.Equal(encoded.Ids.Length, encoded.AssistantMask.Length);
    }

    [Fact]
    public void A_stripping_template_still_shows_its_answers() =>
        Assert.Equal(["Yo 😀</s>", "no</s>"], Learnt(Encode("{% for m in messages %}{% if m.role == 'user' %}[{{ m.content|trim }}]{% elif "
            + "m.role == 'assistant' %} {{ m.content|trim }}</s>{% endif %}{% endfor %}", Chat)));

    // phi-3: an end-of-text behind the last turn only, so that no beginning of the chat is a beginning of its text; it ends that turn, too
    [Fact]
    public void A_template_that_ends_the_whole_chat_keeps_its_answers_apart() =>
        Assert.Equal([" Yo 😀 <|im_end|>", "no<|im_end|>\n</s>"],
            Learnt(Encode("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if not "
            + "add_generation_prompt %}</s>{% endif %}", Chat)));

    [Fact] // the think block stands between the opening and the answer: the model has to write it
    public void What_the_template_writes_behind_the_opening_is_learnt()
    {
        const string template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}<think></think>{% endif "
            + "%}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
        Assert.Equal(["<think></think> Yo 😀 <|im_end|>", "<think></think>no<|im_end|>"], Learnt(Encode(template, Chat)));
    }

    [Fact]
    public void Calls_of_tools_are_learnt_up_to_the_end_token()
    {
        const string template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}{% for c in m.tool_calls or [] "
            + "%}<tool>{{ c.name }}</tool>{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt "
            + "%}<|im_start|>assistant\n{% endif %}";
        var chat = """[{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": [{"name": "f"}]}, {"role": "tool", "content": "t"}, {"role": "assistant", "content": "b", "tool_calls": [{"name": "g"}]}]""";
        Assert.Equal(["<tool>f</tool><|im_end|>", "b<tool>g</tool><|im_end|>"], Learnt(Encode(template, chat)));
    }

    [Fact]
    public void Generation_blocks_decide_where_there_are_any() =>
        Assert.Equal([" Yo 😀 ", "no"], Learnt(Encode("{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}{% generation "
            + "%}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}\n{% endfor %}", Chat)));

    [Fact]
    public void A_template_that_rewrites_answers_is_refused()
    {
        var error = Assert.Throws<InputException>(() =>
            Encode("{% for m in messages %}{{ m.content|list|sort|join }}{{ messages|length }};{% endfor %}",
            """[{"role": "user", "content": "ab"}, {"role": "assistant", "content": "cd"}, {"role": "user", "content": "ef"}]"""));
        Assert.Equal("t: cannot tell where message 2, which the assistant says, stands in the rendered text", error.What);
        Assert.Equal("put {% generation %} … {% endgeneration %} around what the assistant says in the template, or train on all tokens "
            + "with assistant_only_loss: false", error.Fix);
    }

    [Fact]
    public void A_template_that_turns_answers_round_still_shows_them() =>
        Assert.Equal(["dc"],
            Learnt(Encode("{% for m in messages %}{{ m.content|reverse }}{{ messages|length }};{% endfor %}",
            """[{"role": "user", "content": "ab"}, {"role": "assistant", "content": "cd"}, {"role": "user", "content": "ef"}]""")));

    [Theory]
    [InlineData("{{ bos_token }}x", false, "<s>x")]
    [InlineData("{{ bos_token }}x", true, "<s>x")]
    [InlineData("x", false, "x")]
    [InlineData("x", true, "<s>x")]
    public void A_begin_token_is_never_doubled(string template, bool addSpecialTokens, string text)
    {
        foreach (var mask in new[] { false, true })
        {
            var encoded = new ChatEncoder(_tokenizer, ChatTemplate.Parse(template, "t"))
                .Encode(Of("[]"), new() { AddSpecialTokens = addSpecialTokens, WithAssistantMask = mask });
            Assert.Equal(text, _tokenizer.Decode(encoded.Ids));
        }
    }

    [Fact]
    public void Only_the_completion_is_learnt()
    {
        var encoder = new ChatEncoder(_tokenizer, ChatTemplate.Parse(ChatTemplate.ChatMl, "t"));
        Assert.Equal(["yes</s>"], Learnt(encoder.EncodeCompletion("Is 1 < 2? ", "yes</s>")));
        var chat = encoder.EncodeCompletion(Of("""[{"role": "user", "content": "a"}]"""),
            JsonElement.Parse("""[{"role": "assistant", "content": "b"}]"""), new());
        Assert.Equal("<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n", chat.Text);
        Assert.Equal(["b<|im_end|>\n"], Learnt(chat));
    }

    [Fact] // handbook.md 1.4: config template > tokenizer template > Zephyr, never an exception
    public void The_recipe_s_template_wins_then_the_tokenizer_s_then_Zephyr()
    {
        Assert.Equal("R", ChatTemplate.Choose("R", _tokenizer.With(chatTemplate: "T")).Source);
        Assert.Equal("T", ChatTemplate.Choose(null, _tokenizer.With(chatTemplate: "T")).Source);
        Assert.Equal(ChatTemplate.Zephyr, ChatTemplate.Choose(null, _tokenizer).Source);
    }

    private static Conversation Of(string messages) => new() { Messages = JsonElement.Parse(messages) };

    private static EncodedChat Encode(string template, string messages) =>
        new ChatEncoder(_tokenizer, ChatTemplate.Parse(template, "t")).Encode(Of(messages), new());

    /// <summary>The runs of tokens that carry loss, as text.</summary>
    private static List<string> Learnt(EncodedChat encoded)
    {
        var runs = new List<string>();
        for (var i = 0; i < encoded.Ids.Length; i++)
        {
            var start = i;
            while (i < encoded.Ids.Length && encoded.AssistantMask[i] == 1)
                i++;
            if (i > start)
                runs.Add(_tokenizer.Decode(encoded.Ids.AsSpan(start, i - start)));
        }
        Assert.Equal(encoded.Spans.Select(span => PyText.Slice(encoded.Text, new((long)span.Start, (long)span.End, null))), runs);
        return runs;
    }
}
