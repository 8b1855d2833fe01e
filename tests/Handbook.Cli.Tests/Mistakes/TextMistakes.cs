using Handbook.Cli.Tests.BadInput;

namespace Handbook.Cli.Tests.Mistakes;

/// <summary>Tokenizers and chat templates.</summary>
internal static class TextMistakes
{
    public static IReadOnlyList<Mistake> All { get; } =
    [
        new("a model without a tokenizer", run => run.Delete("model/tokenizer.json"), Copied),
        new("a tokenizer that is nowhere", run => run.Add("tokenizer_name_or_path: someone/tokens"),
            run => run.Set("tokenizer_name_or_path", "tokenizer_name_or_path: model")),
        new("a tokenizer that is not JSON", run => run.Write("model/tokenizer.json", "{\"version\": \"1.0\",\n \"model\": "), Copied),
        new("a tokenizer of an unknown kind", run => run.Replace("model/tokenizer.json", Spaced(run, "\"type\": \"BPE\""),
            Spaced(run, "\"type\": \"Magic\"")), Copied),
        new("a tokenizer that cuts words in an unknown way", run => run.Replace("model/tokenizer.json",
            Spaced(run, "\"type\": \"ByteLevel\""),
            Spaced(run, "\"type\": \"CharLevel\"")), Copied),
        new("a tokenizer with settings that are not JSON", run => run.Write("model/tokenizer_config.json", "{\"eos_token\": "), Copied),
        new("an end token that does not exist", run => run.Add("eos_token: <|stop|>"), run => run.Set("eos_token", "eos_token: </s>")),
        new("a padding token that does not exist", run => run.Add("pad_token: <|fill|>"), run => run.Set("pad_token", "pad_token: </s>")),
        new("new tokens that are empty", run => run.Add("new_special_tokens: ['']"),
            run => run.Set("new_special_tokens", "new_special_tokens: [<|tool|>]")),
        Template("a template that is nowhere", null),
        Template("a template that is not closed", "{% for message in messages %}{{ message.content }}") with { IsQuick = true },
        Template("a template with a filter that does not exist", "{{ messages | shuffle }}"),
        Template("a template with a statement that does not exist", "{% foreach m in messages %}{{ m }}{% endfor %}"),
        Template("a template that divides by zero", "{{ 1 / 0 }}"),
        Template("a template without an end", "{% for i in range(10 ** 12) %}x{% endfor %}"),
        Template("a template that refuses the rows", "{{ raise_exception('roles must alternate') }}"),
        Template("a template that asks for what no turn has", "{{ messages[0].nothing.at_all }}"),
        Template("a template that writes nothing", "{% if messages %}{% endif %}"),
        Template("a template that leaves the answers out",
            "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}",
                "assistant_only_loss: true"),
        Template("a marker of answers around nothing",
            "{% for m in messages %}{{ m['content'] + eos_token }}{% generation %}{% endgeneration %}{% endfor %}",
                "assistant_only_loss: true"),
        Template("a marker of answers that is not closed",
            "{% for m in messages %}{% generation %}{{ m['content'] + eos_token }}{% endfor %}"),
        new("a template that is neither Jinja nor a name", run => run.Add("chat_template: zephyr2"), run => run.Remove("chat_template")),
        new("a template by the name of its file", run =>
        {
            run.Write("t.jinja", TinyRun.Template);
            run.Add("chat_template: t.jinja");
        }, run => run.Set("chat_template", "chat_template_path: t.jinja")),
        new("a model's own template that is broken", run => run.Write("model/chat_template.jinja", "{% if %}"),
            run => run.Write("model/chat_template.jinja", TinyRun.Template)),
    ];

    private static Mistake Template(string title, string? wrong, string? keys = null) => new(title, run =>
    {
        if (wrong is not null)
            run.Write("t.jinja", wrong);
        run.Add("chat_template_path: t.jinja" + (keys is null ? "" : $"\n{keys}"));
    }, run => run.Write("t.jinja", TinyRun.Template));

    /// <summary>The file may be written with or without spaces behind colons.</summary>
    private static string Spaced(MistakeFolder run, string text) =>
        File.ReadAllText(run.At("model", "tokenizer.json")).Contains("\"type\": ", StringComparison.Ordinal) ? text
            : text.Replace("\": ", "\":", StringComparison.Ordinal);

    private static void Copied(MistakeFolder run)
    {
        using var whole = new MistakeFolder("sft");
        run.Delete("model");
        run.Bring(whole, "model");
    }
}
