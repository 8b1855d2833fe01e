using Handbook.Base;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Templates;

public sealed partial class ChatTemplate
{
    /// <summary>What the handbook uses where neither recipe nor tokenizer has a template: <c>&lt;|role|&gt;</c> on its own line,
    /// the text, the end token.</summary>
    public static string Zephyr { get; } = """
        {% for message in messages %}
        {% if message['role'] in ['system', 'user', 'assistant'] %}
        {{ '<|' + message['role'] + '|>\n' + message['content'] }}{{ eos_token }}{{ '\n' }}
        {%- endif %}
        {% if loop.last and add_generation_prompt %}
        {{ '<|assistant|>\n' }}
        {%- endif %}
        {% endfor %}
        """;

    /// <summary>ChatML: every turn between <c>&lt;|im_start|&gt;</c> with its role and <c>&lt;|im_end|&gt;</c>.</summary>
    public static string ChatMl { get; } = """
        {% for message in messages %}
        {{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}
        {%- endfor %}
        {% if add_generation_prompt %}
        {{ '<|im_start|>assistant\n' }}
        {%- endif %}
        """;

    /// <summary>The name under which tokenizers keep a template for conversations with tools.</summary>
    private const string ToolUse = "tool_use";

    /// <summary>The template of a run: the recipe's, else the tokenizer's, else Zephyr's.</summary>
    /// <param name="configured">The recipe's template, or the name of one of the tokenizer's; null where it has none.</param>
    /// <param name="tokenizer">The run's tokenizer.</param>
    /// <exception cref="TemplateException">The chosen text is no template.</exception>
    /// <exception cref="InputException">The tokenizer has several templates and none is the default.</exception>
    public static ChatTemplate Choose(string? configured, Tokenizer tokenizer) =>
        configured is not null ? Parse(tokenizer.ChatTemplates.GetValueOrDefault(configured) ?? configured, "chat_template of the recipe")
        : tokenizer.ChatTemplates.Count > 0 ? Of(tokenizer, "chat template of the tokenizer")
        : Parse(Zephyr, "built-in Zephyr template");

    /// <summary>A tokenizer's template, with the one it has for tools; Zephyr's where it has none.</summary>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="name">What messages call the template.</param>
    /// <exception cref="InputException">The tokenizer has several templates and none is the default.</exception>
    public static ChatTemplate Of(Tokenizer tokenizer, string name) =>
        Parse(tokenizer.ChatTemplate ?? (tokenizer.ChatTemplates.Count == 0 ? Zephyr : throw NoDefault(tokenizer)), name,
            tokenizer.ChatTemplates.TryGetValue(ToolUse, out var tools) ? Parse(tools, $"{name} {ToolUse}") : null);

    private static InputException NoDefault(Tokenizer tokenizer)
    {
        var names = string.Join(", ", tokenizer.ChatTemplates.Keys.Order(StringComparer.Ordinal));
        return new($"the tokenizer has several chat templates ({names}), and none is called default",
            "it is not known which of them conversations should be rendered with",
            $"name one in the recipe: chat_template: {tokenizer.ChatTemplates.Keys.Order(StringComparer.Ordinal).First()}; or a file: "
                + "chat_template_path: FILE.jinja");
    }
}
