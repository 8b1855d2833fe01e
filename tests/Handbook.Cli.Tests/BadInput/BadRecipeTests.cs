namespace Handbook.Cli.Tests.BadInput;

/// <summary>Recipes that cannot be read or make no sense. Each key's own messages are held word for word in
/// <c>RecipeDiagnosticsTests</c>.</summary>
public sealed class BadRecipeTests : IDisposable
{
    private readonly TinyRun _run = new();

    public void Dispose() => _run.Dispose();

    [Fact]
    public void The_run_that_the_tests_break_is_whole()
    {
        var outcome = _run.Sft();
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.True(File.Exists(_run.At("out", "model.safetensors")));
        Assert.True(Directory.Exists(_run.At("out", "checkpoint-4")));
    }

    [Fact]
    public void A_recipe_that_is_not_there() => _run.Refused(_run.Handbook.Run("sft", "other.yaml"), "other.yaml: error: ");

    [Fact]
    public void A_recipe_that_is_a_folder() => _run.Refused(_run.Handbook.Run("sft", "model"), "model: error: ");

    [Theory]
    [InlineData("", "r.yaml: error: ")]
    [InlineData("- a\n- b\n", "r.yaml:1:1: error: ")]
    [InlineData("model_name_or_path: [model\n", "r.yaml:")]
    [InlineData("model_name_or_path: model\n\tseed: 1\n", "r.yaml:2:")]
    [InlineData("model_name_or_path: \"model\n", "r.yaml:")]
    [InlineData(TinyRun.Recipe + "lerning_rate: 1\n", "r.yaml:10:1: error: lerning_rate is not a key of a recipe")]
    [InlineData(TinyRun.Recipe + "max_steps: 5\n", "r.yaml:10:1: error: max_steps is given twice, first in line 6")]
    [InlineData(TinyRun.Recipe + "learning_rate: fast\n", "learning_rate is \"fast\", not a number")]
    [InlineData(TinyRun.Recipe + "warmup_ratio: 3\n", "warmup_ratio is 3, but must lie between 0 and 1")]
    public void A_recipe_that_is_wrong(string yaml, string message)
    {
        _run.Write("r.yaml", yaml);
        _run.Refuses([], message, "nothing was started.");
        Assert.False(Directory.Exists(_run.At("out")));
    }

    [Fact]
    public void A_recipe_that_is_not_text()
    {
        File.WriteAllBytes(_run.At("r.yaml"), [0xff, 0xfe, 0x00, 0x81, 0x00, 0x0a]);
        _run.Refuses([], "r.yaml");
    }

    [Theory]
    [InlineData("--learning_rate=", "learning_rate is empty")]
    [InlineData("--learning_rat=1", "--learning_rat is not a key of a recipe")]
    [InlineData("--max_steps=1.5", "max_steps is 1.5, not a whole number")]
    public void A_word_on_the_command_line(string word, string message) => _run.Refuses([word], $"command line: error: {message}");

    [Fact]
    public void Fresh_and_resume_contradict_each_other() =>
        _run.Refuses(["--fresh=true", "--resume_from_checkpoint=out/checkpoint-2"],
            "fresh: true begins anew, but resume_from_checkpoint asks to go on", "fix: remove one of the two");
}
