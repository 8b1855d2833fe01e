using System.Text.Json;
using Handbook.Base;
using Handbook.Text.Templates;

namespace Handbook.Text.Tests.Templates;

public sealed class TemplateErrorTests
{
    [Fact]
    public void A_syntax_error_names_line_column_and_shows_the_line()
    {
        var error = Assert.Throws<TemplateException>(() =>
            ChatTemplate.Parse("first\n{% if messages %}\n  {{ messages[0 }}\n{% endif %}", "chat.jinja"));
        Assert.Equal("""
            chat.jinja:3:17: unexpected '}', expected ']'
              3 |   {{ messages[0 }}
                |                 ^
              fix: correct the template, then check it with: handbook template check FILE
            """, error.Message);
        Assert.Equal((TemplateErrorKind.Syntax, 3, 17), (error.Kind, error.Line, error.Column));
    }

    [Theory]
    [InlineData("{% if a %}x", "t:1:12: Unexpected end of template. Jinja was looking for the following tags: 'elif' or 'else' or "
        + "'endif'. The innermost block that needs to be closed is 'if'.")]
    [InlineData("{% for m in l %}{% endif %}", "t:1:20: Encountered unknown tag 'endif'. Jinja was looking for the following tags: "
        + "'endfor' or 'else'. The innermost block that needs to be closed is 'for'.")]
    [InlineData("{% do x %}", "t:1:4: Encountered unknown tag 'do'.")]
    [InlineData("é😀{{ a b }}", "t:1:8: expected token 'end of print statement', got 'b'")]
    [InlineData("{{ x | nosuch }}", "t:1:8: No filter named 'nosuch'.")]
    [InlineData("{{ x | regex_replace('a', 'b') }}", "t:1:8: No filter named 'regex_replace'.")]
    [InlineData("{{ 'open }}", "t:1:4: unexpected char \"'\" at 3")]
    [InlineData("{# open", "t:1:1: Missing end of comment tag")]
    [InlineData("{% break %}", "t:1:4: 'break' outside loop")]
    public void Syntax_errors_say_what_was_expected(string source, string what)
    {
        var error = Assert.Throws<TemplateException>(() => ChatTemplate.Parse(source, "t"));
        Assert.Equal(what, error.What.Split('\n')[0]);
    }

    [Theory]
    [InlineData(@"{{ 'a1b2' | regex_replace('([a-z])(\\d)', '\\2\\1') }}", "1a2b")]
    [InlineData(@"{{ 'aaa' | regex_replace('a', 'b', count=2) }}", "bba")]
    public void A_template_of_a_text_has_the_evaluation_harness_s_filter(string source, string text) =>
        Assert.Equal(text, ChatTemplate.ParseText(source, "t").RenderValues([], DateTime.UnixEpoch).Text);

    [Fact]
    public void A_wrong_expression_in_a_template_says_what_is_wrong() => Assert.Contains(
        "regex_replace has (a, which is no regular expression: at character 2 a bracket ( is not closed",
        Assert.Throws<TemplateException>(() => ChatTemplate.ParseText("{{ 'a' | regex_replace('(a', '') }}", "t").RenderValues([], DateTime.UnixEpoch)).What);

    [Fact]
    public void A_refusal_by_the_template_keeps_its_words()
    {
        var error = Assert.Throws<TemplateException>(() =>
            Render("{% for m in messages %}{% if m.role == 'system' %}\n{{ raise_exception('System role not supported') }}{% endif "
            + "%}{% endfor %}", """[{"role": "system", "content": "x"}]"""));
        Assert.Equal("""
            t:2:19: System role not supported
              2 | {{ raise_exception('System role not supported') }}{% endif %}{% endfor %}
                |                   ^
              why: the template itself refused this conversation with raise_exception
              fix: change the messages to what the template asks for, or set another chat_template
            """, error.Message);
        Assert.Equal((TemplateErrorKind.RaiseException, "System role not supported"), (error.Kind, error.Detail));
    }

    [Fact]
    public void A_missing_key_is_named_with_its_owner()
    {
        var error = Assert.Throws<TemplateException>(() =>
            Render("{{ messages[0].content.text.strip() }}", """[{"role": "user", "content": "x"}]"""));
        Assert.Equal("t:1:28: 'str object' has no attribute 'text'", error.What.Split('\n')[0]);
    }

    [Fact]
    public void A_special_token_that_the_tokenizer_lacks_says_where_to_set_it()
    {
        var error = Assert.Throws<TemplateException>(() => Render("{{ 'a' + eos_token }}", "[]"));
        Assert.Equal("t:1:8: 'eos_token' is undefined", error.What.Split('\n')[0]);
        Assert.Equal("the tokenizer does not name this token: set eos_token in the recipe or in tokenizer_config.json", error.Fix);
    }

    [Theory]
    [InlineData("null", "t: messages must be a list of {role, content} objects, but is null")]
    [InlineData("{\"role\": \"user\"}", "t: messages must be a list of {role, content} objects, but is an object")]
    [InlineData("\"Hi\"", "t: messages must be a list of {role, content} objects, but is the text \"Hi\"")]
    [InlineData("3", "t: messages must be a list of {role, content} objects, but is 3")]
    public void Messages_that_are_no_list_are_refused(string messages, string what)
    {
        var error = Assert.Throws<InputException>(() => Render("x", messages));
        Assert.Equal(what, error.What);
        Assert.Equal("""write the conversation as [{"role": "user", "content": "…"}]""", error.Fix);
    }

    [Theory]
    [InlineData("{{ messages[0].content + 1 }}", "t:1:24: can only concatenate str (not \"int\") to str")]
    [InlineData("{{ none + 'a' }}", "t:1:9: unsupported operand type(s) for +: 'NoneType' and 'str'")]
    [InlineData("{% for x in 5 %}{% endfor %}", "t:1:4: 'int' object is not iterable")]
    [InlineData("{{ messages.append(1) }}", "t:1:19: access to attribute 'append' of 'list' object is unsafe.")]
    [InlineData("{{ none[1:] }}", "t:1:8: 'NoneType' object is not subscriptable")]
    [InlineData("{{ 5[:2] }}", "t:1:5: 'int' object is not subscriptable")]
    [InlineData("{{ messages[0][1:] }}", "t:1:15: unhashable type: 'slice'")]
    [InlineData("{{ messages[0].items()[:1] }}", "t:1:23: 'dict_items' object is not subscriptable")]
    [InlineData("{% include 'x' %}", "t:1:4: no loader for this environment specified")]
    public void Errors_of_evaluation_point_at_the_operation(string source, string what)
    {
        var error = Assert.Throws<TemplateException>(() => Render(source, """[{"role": "user", "content": "x"}]"""));
        Assert.Equal(what, error.What.Split('\n')[0]);
    }

    [Fact]
    public void A_long_line_is_shown_around_the_place()
    {
        var error = Assert.Throws<TemplateException>(() => ChatTemplate.Parse(new string('x', 300) + "{{ }}" + new string('y', 300), "t"));
        var lines = error.What.Split('\n');
        Assert.Equal($"t:1:304: Expected an expression, got 'end of print statement'", lines[0]);
        Assert.Equal("}}", lines[1].Substring(lines[2].IndexOf('^'), 2));
        Assert.True(lines[1].Length < 120);
    }

    [Fact]
    public void A_final_message_to_continue_must_appear_in_the_text()
    {
        var template = ChatTemplate.Parse("{{ messages[0].content }}", "t");
        var error = Assert.Throws<TemplateException>(() =>
            template.Render(Chat("""[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]"""),
            new() { ContinueFinalMessage = true }));
        Assert.Equal("t: continue_final_message is set but the final message does not appear in the chat after applying the chat template!",
            error.What);
    }

    // Each would run for ages, fill memory or overflow the stack without a border.
    [Theory]
    [InlineData("{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "the template took more than 20000000 steps")]
    [InlineData("{% set ns = namespace(x='xxxxxxxxxxxxxxxx') %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "the template made a text of more than 67108864 characters")]
    [InlineData("{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "the template made a list of more than 4194304 items")]
    [InlineData("{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "the template took more than 20000000 steps")]
    [InlineData("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "the template nests too deeply")]
    [InlineData("{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}", "the template nests too deeply")]
    [InlineData("{{ 'x' * 100000000000 }}", "the template made a text of more than 67108864 characters")]
    [InlineData("{{ '%999999999d' % 1 }}", "the template made a text of more than 67108864 characters")]
    [InlineData("{{ '{:>999999999}'.format(1) }}", "the template made a text of more than 67108864 characters")]
    [InlineData("{{ 'x'.center(999999999) }}", "the template made a text of more than 67108864 characters")]
    [InlineData("{{ 9 ** 387420489 }}", "9 ** 387420489 is too large")]
    [InlineData("{{ [0] * 1000000000 }}", "the template made a list of more than 4194304 items")]
    [InlineData("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", "the template nests too deeply")]
    [InlineData("{{ [1] | batch(999999999, 0) | list }}", "the template made a list of more than 4194304 items")]
    [InlineData("{{ 'a' | indent(999999999, true) }}", "the template made a text of more than 67108864 characters")]
    public void A_hostile_template_ends_with_a_message(string source, string detail)
    {
        var error = Assert.IsType<TemplateException>(OnSmallStack(() => Render(source, "[]")));
        Assert.Equal((TemplateErrorKind.Limit, detail), (error.Kind, error.Detail));
    }

    [Fact]
    public void Deep_brackets_are_refused_when_parsed()
    {
        var error = Assert.IsType<TemplateException>(OnSmallStack(() =>
            ChatTemplate.Parse("{{ " + new string('(', 100_000) + "1" + new string(')', 100_000) + " }}", "t")));
        Assert.Equal("the template nests too deeply", error.Detail);
    }

    /// <summary>What an action throws on a thread with little stack: that shows that depth is checked, not hoped for.</summary>
    private static Exception? OnSmallStack(Action action)
    {
        Exception? thrown = null;
        var thread = new Thread(() => thrown = Record.Exception(action), maxStackSize: 1 << 20);
        thread.Start();
        thread.Join();
        return thrown;
    }

    private static RenderedChat Render(string source, string messages) => ChatTemplate.Parse(source, "t").Render(Chat(messages), new());

    private static Conversation Chat(string messages) => new() { Messages = JsonElement.Parse(messages) };
}
