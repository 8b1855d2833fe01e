using Handbook.Cli.Tests.BadInput;

namespace Handbook.Cli.Tests;

/// <summary>A run and <c>validate</c> say the same of the reference that a recipe names.</summary>
public sealed class ReferenceTests : IDisposable
{
    private readonly TinyRun _run = new();

    public ReferenceTests()
    {
        _run.Write("r.yaml", TinyRun.Recipe.Replace("rows.jsonl", "pairs.jsonl"));
        _run.Write("pairs.jsonl",
            string.Concat(Enumerable.Range(0, 8)
            .Select(i => $$"""{"prompt": "number {{i}}?", "chosen": " it is {{i}}", "rejected": " it is the answer"}""" + "\n")));
    }

    public void Dispose() => _run.Dispose();

    [Fact]
    public void A_reference_of_another_vocabulary_size_is_refused_before_and_at_the_start()
    {
        _run.Write("large.json", TinyRun.Llama.Replace("300", "320"));
        SmallModel.Succeed(_run.Handbook.Run("init", "--config", "large.json", "--tokenizer", "model", "--output", "other"));
        foreach (var command in (string[])["validate", "dpo"])
            _run.Refused(Run(command), "ref_model_name_or_path: ", "has a vocabulary of 320, but the policy has 300");
    }

    [Fact]
    public void A_reference_with_other_words_under_the_same_ids_is_refused_before_and_at_the_start()
    {
        _run.Write("config.json", TinyRun.Llama);
        _run.Write("corpus.txt", string.Join('\n', Enumerable.Repeat("where zebras quietly roam, waves break upon rocks", 20)));
        SmallModel.Succeed(_run.Handbook.Run("tokenizer", "train", "corpus.txt", "--vocab-size", "290", "--output", "tok", "--eos-token",
            "</s>", "--special-token", "<|user|>", "--special-token", "<|assistant|>"));
        SmallModel.Succeed(_run.Handbook.Run("init", "--config", "config.json", "--tokenizer", "tok", "--output", "other"));
        foreach (var command in (string[])["validate", "dpo"])
            _run.Refused(Run(command), "ref_model_name_or_path: ", "has another tokenizer: id ", "to the policy and");
    }

    [Fact]
    public void A_reference_whose_markers_have_other_names_is_told_and_read()
    {
        TinyRun.Copy(_run.At("model"), _run.At("other"));
        foreach (var file in (string[])["tokenizer.json", "tokenizer_config.json"])
            _run.Replace($"other/{file}", "<|user|>", "<|person|>");
        foreach (var command in (string[])["validate", "dpo"])
        {
            var outcome = SmallModel.Succeed(Run(command));
            Assert.Matches("warning: ref_model_name_or_path: the tokenizer.json of .* is not the policy's: 1 added or missing tokens, "
                + "first id \\d+ is \"<\\|user\\|>\" to the policy and \"<\\|person\\|>\" to the reference", outcome.Error);
        }
    }

    [Theory]
    [InlineData("", "training rows by .*model, computed once and kept in the cache")]
    [InlineData("--precompute_ref_log_probs=false", "reference: .*model, kept in memory")]
    [Trait("speed", "slow")]
    public void The_log_names_the_reference(string words, string line)
    {
        var outcome = SmallModel.Succeed(_run.Handbook.Run(["dpo", "r.yaml", .. words.Split(' ', StringSplitOptions.RemoveEmptyEntries)]));
        Assert.Matches(line, outcome.Error);
        if (words.Length == 0)
            Assert.Matches("training rows by .*model, from the cache",
                SmallModel.Succeed(_run.Handbook.Run("dpo", "r.yaml", "--output_dir=again")).Error);
    }

    private Outcome Run(string command) =>
        _run.Handbook.Run([command, "r.yaml", .. command == "validate" ? ["--method", "dpo"] : Array.Empty<string>(),
        "--ref_model_name_or_path=other"]);
}
