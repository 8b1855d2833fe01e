using Handbook.Text.Tokenizers;

namespace Handbook.Text.Templates;

public sealed partial class ChatTemplate
{
    /// <summary>What the handbook uses where neither recipe nor tokenizer has a template: <c>&lt;|role|&gt;</c> on its own line, the text, the end token.</summary>
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

    /// <summary>The template of a run: the recipe's, else the tokenizer's, else Zephyr's.</summary>
    /// <param name="configured">The recipe's template; null where it has none.</param>
    /// <param name="tokenizer">The run's tokenizer.</param>
    /// <exception cref="TemplateException">The chosen text is no template.</exception>
    public static ChatTemplate Choose(string? configured, Tokenizer tokenizer) =>
        configured is not null ? Parse(configured, "chat_template of the recipe")
        : tokenizer.ChatTemplate is { } own ? Parse(own, "chat template of the tokenizer")
        : Parse(Zephyr, "built-in Zephyr template");
}
