using System.Text.Json;
using Handbook.Text.Templates;

namespace Handbook.Text.Tests.Templates;

/// <summary>Contents and arguments reach a template in the form that it takes, and leave it with the same words.</summary>
public sealed class ConversationFormTests
{
    private const string Calls = "{% for m in messages %}{{ m.role }}: {{ m.content or '' }}{% for c in m.tool_calls or [] %}<{{ "
        + "c.function.name }} ARGUMENTS>{% endfor %}| {% endfor %}";

    [Theory]
    [InlineData("{{ c.function.arguments|tojson }}", """{"city": "Oslo", "days": 1.0}""")]
    [InlineData("{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }};{% endfor %}", "city=Oslo;days=1.0;")]
    [InlineData("{% if c.function.arguments is string %}{{ c.function.arguments }}{% else %}{{ c.function.arguments|tojson }}{% endif %}",
        """{"city": "Oslo", "days": 1.0}""")]
    [InlineData("{{ '' + c.function.arguments }}", """{"city": "Oslo", "days": 1.0}""")]       // DeepSeek V3
    [InlineData("{{ c.function.arguments }}",
        """{"city": "Oslo", "days": 1.0}""")]            // an object would be printed as Python writes it
    public void Case_15_arguments_as_json_text_are_one_object_to_every_template(string arguments, string expected)
    {
        foreach (var written in new[] { """{"city": "Oslo", "days": 1.0}""", """ "{\"city\": \"Oslo\", \"days\": 1.0}" """ })
            Assert.Equal($"user: rain?| assistant: <weather {expected}>| ", Render(Calls.Replace("ARGUMENTS", arguments),
                $$"""[{"role": "user", "content": "rain?"}, {"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {{written}} } }]}]"""));
    }

    [Theory]
    [InlineData("\"\"", "<f \"\">")]
    [InlineData("\"Oslo\"", "<f \"Oslo\">")]
    [InlineData("\"{broken\"", "<f \"{broken\">")]
    [InlineData("[1]", "<f [1]>")]
    public void Arguments_that_are_no_object_stay_what_they_are(string arguments, string expected) =>
        Assert.Equal($"assistant: {expected}| ", Render(Calls.Replace("ARGUMENTS", "{{ c.function.arguments|tojson }}"),
            $$"""[{"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {{arguments}} } }]}]"""));

    [Theory]
    [InlineData("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{{ "
        + "m.content|map(attribute='text')|join('\n') }}{% endif %};{% endfor %}", "one\ntwo;three;")]
    // an error on lists
    [InlineData("{% for m in messages %}{{ '' + m.content }};{% endfor %}", "onetwo;three;")]
    // lists as Python writes them
    [InlineData("{% for m in messages %}{{ m.content }};{% endfor %}", "onetwo;three;")]
    // parts alone
    [InlineData("{% for m in messages %}{% for p in m.content %}{% if p.type == 'text' %}[{{ p.text }}]{% endif %}{% endfor %};{% endfor %}", "[one][two];[three];")]
    public void Case_16_content_parts_joined_parts_are_the_template_s_where_it_takes_them(string template, string expected) =>
        Assert.Equal(expected,
            Render(template,
            """[{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}, {"role": "assistant", "content": "three"}]"""));

    [Fact]
    public void Fields_roles_and_tools_that_change_nothing_are_named()
    {
        var template = ChatTemplate.Parse("{% for m in messages %}{% if m.role != 'tool' %}{{ m.role }}: {{ m.content or '' }}{{ "
            + "m.reasoning_content or '' }}\n{% endif %}{% endfor %}", "t");
        var conversation = new Conversation
        {
            Messages = JsonElement.Parse("""
                [{"role": "user", "content": "rain?", "mood": "wet"},
                 {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {}}}]},
                 {"role": "tool", "content": "yes"}, {"role": "assistant", "content": "It rains."}]
                """),
            Tools = JsonElement.Parse("""[{"type": "function", "function": {"name": "weather"}}]"""),
            Variables = new Dictionary<string, JsonElement> { ["enable_thinking"] = JsonElement.Parse("true") },
        };
        Assert.Equal(["tools", "enable_thinking", "turns of the role tool", "mood", "tool_calls"],
            TemplateEffects.Without(template, conversation, new()).Select(part => $"{part}"));
    }

    private static string Render(string template, string messages)
    {
        var parsed = ChatTemplate.Parse(template, "t");
        return parsed.Render(parsed.Fitted(new() { Messages = JsonElement.Parse(messages) }, new()), new()).Text;
    }
}
