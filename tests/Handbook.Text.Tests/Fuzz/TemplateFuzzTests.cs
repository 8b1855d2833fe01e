using System.Text.Json;
using Handbook.Testing;
using Handbook.Text.Templates;

namespace Handbook.Text.Tests.Fuzz;

/// <summary>Damaged chat templates, and conversations through what still parses.</summary>
[Trait("kind", "fuzz")]
public sealed class TemplateFuzzTests
{
    private const string Chat = """
        [{"role": "system", "content": "be kind"}, {"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"},
        {"role": "user", "content": "and then?"}]
        """;

    private static readonly string[] s_words =
    [
        "{{", "}}", "{%", "%}", "{#", "#}", "{%-", "-%}", "{% for m in messages %}", "{% endfor %}", "{% if true %}", "{% endif %}", "{% macro f(x) %}",
        "{% endmacro %}", "{% set x = 1 %}", "{% generation %}", "{% endgeneration %}", "messages", "loop.index", "range(1000000000)", "'a' * 99999999",
        "| tojson", "| join", "| map(attribute='role')", "| selectattr", ".split()", "[::-1]", "[-1]", "1/0", "2 ** 99999", "raise_exception('x')",
        "namespace()", "recursive", "loop(x)", "strftime_now('%Y')", "not ", " in ", " is defined", "((((((((", "[[[[[[[[", "'", "\"", "~",
    ];

    [Fact]
    public void A_damaged_template_gives_an_answer_or_a_message()
    {
        List<byte[]> seeds = [.. new[] { ChatTemplate.Zephyr, ChatTemplate.ChatMl, """
            {% macro say(m) %}{{ m.role | upper }}: {{ m['content'] | trim }}{% endmacro %}{% set ns = namespace(n=0) %}
            {%- for m in messages if m.role != 'tool' -%}{% set ns.n = ns.n + loop.index %}{{ say(m) ~ "\n" }}
            {%- else %}none{% endfor %}{{ {'a': [1, 2.5, none, true]} | tojson }}{{ messages[1:] | length }}
            """ }.Select(System.Text.Encoding.UTF8.GetBytes)];
        if (SharedFiles.Root is { } root && Path.Combine(root, "chat-templates", "templates") is var folder && Directory.Exists(folder))
            seeds.AddRange(Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal).Take(200)
                .Select(File.ReadAllBytes).Where(bytes => bytes.Length < 8000));
        using var chat = JsonDocument.Parse(Chat);
        var conversation = new Conversation { Messages = chat.RootElement.Clone() };
        FuzzRun.Over("template", seeds, s_words, 1500, bytes =>
        {
            var template = ChatTemplate.Parse(System.Text.Encoding.UTF8.GetString(bytes), "fuzz");
            var rendered = template.Render(conversation, new() { AddGenerationPrompt = true });
            template.AssistantSpans(conversation, new(), template.Render(conversation, new()), []);
            Assert.NotNull(rendered.Text);
        });
    }
}
