using System.Text.Json;
using Handbook.Base;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Templates;

/// <summary>Masks of small templates that write turns as published ones do, each for one way in which a mask can go wrong.</summary>
public sealed class MaskCasesTests
{
    private const string Tools = """[{"type": "function", "function": {"name": "weather", "description": "SCHEMA", "parameters": {}}}]""";

    private const string Called = """
        [{"role": "user", "content": "ASK"},
         {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "weather", "arguments": {"city": "OSLO"}}}]},
         {"role": "tool", "name": "weather", "tool_call_id": "a", "content": "RAIN"},
         {"role": "assistant", "content": "WET"}]
        """;

    private const string Two =
        """[{"role": "user", "content": "a?"}, {"role": "assistant", "content": "cold"}, {"role": "user", "content": "b?"}, {"role": "assistant", "content": "small"}]""";

    // The opening of an answer is not that of a call, and every chat ends with an opening.
    private const string Planned = """
        {% for m in messages %}<|start|>
        {%- if m.role == 'assistant' %}<|bot|>{% if m.tool_calls %}<|plan|>{{ m.plan }}<|act|>{{ m.tool_calls[0].function.arguments|tojson }}<|done|>{% else %}<|say|>{{ m.content }}<|said|>{% endif %}
        {%- elif m.role == 'tool' %}<|sys|>{{ m.content }}
        {%- else %}<|user|>{{ m.content }}
        {%- endif %}<|end|>
        {%- endfor %}<|start|><|bot|>
        """;

    private static readonly string[] s_planned = ["<|start|>", "<|bot|>", "<|user|>", "<|sys|>", "<|plan|>", "<|act|>", "<|done|>",
        "<|say|>", "<|said|>", "<|end|>"];

    [Fact]
    public void Case_06_mask_final_answer_lost_the_answer_behind_a_tool_result_carries_loss_with_its_end() =>
        Assert.Equal(["<|plan|><|act|>{\"city\": \"OSLO\"}<|done|><|end|>", "WET<|said|><|end|>"],
            Learnt(Planned, Called, TinyTokenizer.With("</s>", s_planned)));

    [Theory]
    [InlineData("<|end|>")]
    [InlineData("</s>")]        // whatever the tokenizer calls its end token
    public void Case_07_mask_end_of_turn_lost_a_turn_keeps_all_the_tokens_that_end_it(string end) =>
        Assert.Equal(["cold<|said|><|end|>", "small<|said|><|end|>"], Learnt(Planned, Two, TinyTokenizer.With(end, s_planned)));

    [Theory]
    [InlineData("{% macro say(t) %}{% generation %}{{ t }}<|im_end|>{% endgeneration %}{% endmacro %}{% for m in messages "
        + "%}<|im_start|>{{ m.role }} {% if m.role == 'assistant' %}{{ say(m.content) }}{% else %}{{ m.content }}<|im_end|>{% endif "
        + "%}\n{% endfor %}")]
    [InlineData("{% macro turn(m) %}<|im_start|>{{ m.role }} {{ caller() }}{% endmacro %}{% for m in messages %}{% call turn(m) %}{% if "
        + "m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% "
        + "endif %}{% endcall %}\n{% endfor %}")]
    [InlineData("{% for m in messages %}{% set t %}<|im_start|>{{ m.role }} {% if m.role == 'assistant' %}{% generation %}{{ m.content "
        + "}}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}{% endset %}{{ t }}\n{% endfor %}")]
    public void Case_08_mask_generation_in_macro_a_block_in_a_macro_marks_what_it_wrote(string template) =>
        Assert.Equal(["cold<|im_end|>", "small<|im_end|>"], Learnt(template, Two, TinyTokenizer.With("<|im_end|>", "<|im_start|>")));

    [Fact]
    public void A_block_in_a_macro_whose_text_is_changed_afterwards_is_refused()
    {
        var error = Assert.Throws<InputException>(() =>
            Learnt("{% set t %}{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}{% endset %}{{ "
            + "t|upper|replace('\uF8FE', 'x') }}",
            Two, TinyTokenizer.With("</s>")));
        Assert.StartsWith("t: a generation block stands in a macro, call or set block whose text the template changes afterwards",
            error.What);
    }

    [Fact] // a template that writes a call, its result and the answer into one turn of the model
    public void Case_11_mask_tool_result_in_loss_a_result_within_the_model_s_turn_carries_none()
    {
        const string template = """
            {% for m in messages %}{% if m.role == 'user' %}<|turn|>user {{ m.content }}<|end|>{% elif m.role == 'assistant' %}
            {%- if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}<|turn|>model {% endif %}{{ m.content or '' }}
            {%- for c in m.tool_calls or [] %}<|call|>{{ c.function.name }}{{ c.function.arguments|tojson }}<|called|>{% endfor %}
            {%- if m.tool_calls and not loop.last and messages[loop.index0 + 1].role == 'tool' %}<|result|>{{ m.tool_calls[0].function.name }}:{{ messages[loop.index0 + 1].content }}<|resulted|>{% else %}<|end|>{% endif %}
            {%- endif %}{% endfor %}{% if add_generation_prompt and messages[-1].role != 'tool' %}<|turn|>model {% endif %}
            """;
        Assert.Equal(["<|call|>weather{\"city\": \"OSLO\"}<|called|>", "WET<|end|>"],
            Learnt(template, Called,
                TinyTokenizer.With("<|end|>", "<|turn|>", "<|end|>", "<|call|>", "<|called|>", "<|result|>", "<|resulted|>")));
    }

    [Fact] // thoughts go out of the turns before the last question, so that no beginning of the chat is a beginning of its text
    public void Case_32_mask_refused_for_tool_chats_turns_are_found_though_earlier_ones_are_rendered_anew()
    {
        const string template = """
            {% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
            {%- for m in messages %}<|im_start|>{{ 'user' if m.role == 'tool' else m.role }} {% if m.role == 'assistant' and loop.index0 > ns.last %}<think>{{ m.reasoning_content or '' }}</think>{% endif %}{{ m.content or '' }}
            {%- for c in m.tool_calls or [] %}<call>{{ c.function.arguments|tojson }}</call>{% endfor %}<|im_end|> {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}
            """;
        var chat = Called.TrimEnd()[..^1]
            + """, {"role": "user", "content": "MORE"}, {"role": "assistant", "content": "DRY", "reasoning_content": "HM"}]""";
        Assert.Equal(["<call>{\"city\": \"OSLO\"}</call><|im_end|>", "WET<|im_end|>", "<think>HM</think>DRY<|im_end|>"],
            Learnt(template, chat, TinyTokenizer.With("<|im_end|>", "<|im_start|>")));
    }

    [Theory] // no letter at their ends is looked at by the template, so that marks there would change the render
    [InlineData("{% for m in messages %}<|im_start|>{{ m.role }} {% if m.content.startswith('c') or m.content.endswith('l') %}!{% endif "
        + "%}{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}",
        "!cold<|im_end|>", "!small<|im_end|>")]
    public void Answers_are_found_where_the_template_looks_at_their_first_and_last_letters(string template, params string[] learnt) =>
        Assert.Equal(learnt, Learnt(template, Two, TinyTokenizer.With("<|im_end|>", "<|im_start|>")));

    [Fact] // a call that the template leaves out: its end token alone would be learnt
    public void A_turn_of_which_nothing_is_rendered_carries_no_loss() =>
        Assert.Equal(["WET<|im_end|>"], Learnt("{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content or '' }}<|im_end|>{% endfor "
            + "%}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}",
            Called, TinyTokenizer.With("<|im_end|>", "<|im_start|>")));

    [Fact] // no word of the call stands in the text, but the call does
    public void A_call_of_which_the_template_shows_the_id_alone_carries_loss() =>
        Assert.Equal(["<call>a</call><|im_end|>", "WET<|im_end|>"],
            Learnt("{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content or '' }}{% for c in m.tool_calls or [] %}<call>{{ c.id "
                + "}}</call>{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}",
                Called, TinyTokenizer.With("<|im_end|>", "<|im_start|>")));

    [Fact]
    public void The_template_for_tools_decides_where_a_conversation_has_any()
    {
        var tokenizer = TinyTokenizer.With("</s>");
        var folder = Directory.CreateTempSubdirectory("handbook-tokenizer-").FullName;
        tokenizer.Save(folder);
        File.WriteAllText(Path.Combine(folder, "chat_template.jinja"), "plain {{ messages[0].content }}");
        Directory.CreateDirectory(Path.Combine(folder, "additional_chat_templates"));
        File.WriteAllText(Path.Combine(folder, "additional_chat_templates", "tool_use.jinja"), "tools {{ messages[0].content }}");
        var template = ChatTemplate.Choose(null, Tokenizer.Load(folder));
        var chat = new Conversation { Messages = JsonElement.Parse(Called) };
        Assert.Equal("plain ASK", template.Render(chat, new()).Text);
        Assert.Equal("plain ASK", template.Render(chat with { Tools = JsonElement.Parse("[]") }, new()).Text);
        Assert.Equal("tools ASK", template.Render(chat with { Tools = JsonElement.Parse(Tools) }, new()).Text);
        Assert.Equal("mine",
            ChatTemplate.Choose("mine", Tokenizer.Load(folder)).Render(chat with { Tools = JsonElement.Parse(Tools) }, new()).Text);
        Assert.Equal("tools ASK", ChatTemplate.Choose("tool_use", Tokenizer.Load(folder)).Render(chat, new()).Text);

        File.Delete(Path.Combine(folder, "chat_template.jinja"));
        var refused = Assert.Throws<InputException>(() => ChatTemplate.Choose(null, Tokenizer.Load(folder)));
        Assert.Equal("the tokenizer has several chat templates (tool_use), and none is called default", refused.What);
        Directory.Delete(folder, recursive: true);
    }

    private static List<string> Learnt(string template, string messages, Tokenizer tokenizer)
    {
        var encoded = new ChatEncoder(tokenizer, ChatTemplate.Parse(template, "t")).Encode(new() { Messages = JsonElement.Parse(messages) },
            new());
        var runs = new List<string>();
        for (var i = 0; i < encoded.Ids.Length; i++)
        {
            var start = i;
            while (i < encoded.Ids.Length && encoded.AssistantMask[i] == 1)
                i++;
            if (i > start)
                runs.Add(tokenizer.Decode(encoded.Ids.AsSpan(start, i - start)));
        }
        return runs;
    }
}
