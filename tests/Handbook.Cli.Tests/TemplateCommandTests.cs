namespace Handbook.Cli.Tests;

public sealed class TemplateCommandTests : IDisposable
{
    private const string ChatMl = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if "
        + "add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    private readonly HandbookProcess _handbook = new();

    [Fact]
    public void A_conversation_is_printed_as_the_model_sees_it_with_the_spans_that_carry_loss()
    {
        _handbook.Write("chat.jinja", ChatMl);
        _handbook.Write("chat.json", """{"messages": [{"role": "user", "content": "😀?"}, {"role": "assistant", "content": "Yes"}]}""");
        var outcome = _handbook.Run("template", "render", "--template", "chat.jinja", "--messages", "chat.json", "--show-spans");
        Assert.Equal(0, outcome.Code);
        Assert.Equal("<|im_start|>user\n😀?<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n", outcome.Output);
        Assert.Equal("characters 52–65 carry loss\n", outcome.Error); // 30 for the user's turn, 22 for the opening, then "Yes<|im_end|>"
    }

    [Fact]
    public void Variables_and_the_generation_prompt_reach_the_template()
    {
        _handbook.Write("chat.jinja", "{{ messages[0].content }}{{ level + 1 }}{{ add_generation_prompt }}");
        _handbook.Write("chat.json", """[{"role": "user", "content": "x"}]""");
        Assert.Equal("x3True", _handbook.Run("template", "render", "-t", "chat.jinja", "-m", "chat.json", "-g", "--var", "level=2").Output);
    }

    [Fact]
    public void Check_tells_what_training_needs_to_know()
    {
        _handbook.Write("chat.jinja", ChatMl);
        var outcome = _handbook.Run("template", "check", "chat.jinja");
        Assert.Equal(0, outcome.Code);
        Assert.Contains("  variables  add_generation_prompt, messages\n", outcome.Output);
        Assert.Contains("""  opening    an answer is asked for with "<|im_start|>assistant\n" """.TrimEnd(), outcome.Output);
        Assert.Contains("""follows the rendered turns, such as "A2.<|im_end|>" """.TrimEnd(), outcome.Output);
    }

    [Fact]
    public void A_broken_template_is_the_user_s_to_fix()
    {
        _handbook.Write("chat.jinja", "{{ messages | nosuch }}");
        var outcome = _handbook.Run("template", "check", "chat.jinja");
        Assert.Equal(2, outcome.Code);
        Assert.Equal("", outcome.Output);
        Assert.Equal("""
            error: chat.jinja:1:15: No filter named 'nosuch'.
              1 | {{ messages | nosuch }}
                |               ^
              fix: correct the template, then check it with: handbook template check FILE

            """, outcome.Error);
    }

    [Theory]
    [InlineData("render", "error: no template is given\n  fix: name one: --template FILE, or --tokenizer FOLDER\n")]
    [InlineData("render -t chat.jinja -m none.json", "error: none.json: there is no such file\n")]
    [InlineData("render -t chat.jinja --var level",
        "error: --var level: is not key=JSON\n  fix: write for example --var enable_thinking=false\n")]
    [InlineData("render -t chat.jinja --var level=high",
        "error: --var level:1:1: is not JSON: no value begins like this\n  fix: put texts in double quotes: --var "
        + "name='\"text\"'\n")]
    public void Wrong_arguments_say_what_to_type(string words, string message)
    {
        _handbook.Write("chat.jinja", ChatMl);
        var outcome = _handbook.Run(["template", .. words.Split(' ')]);
        Assert.Equal(2, outcome.Code);
        Assert.Contains(message, outcome.Error);
    }

    public void Dispose() => _handbook.Dispose();
}
