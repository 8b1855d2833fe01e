using Handbook.Base;
using Handbook.Models.Adapters;
using Handbook.Runs;

namespace Handbook.Tests.Runs;

/// <summary>A run of an adapter that goes on from any of its checkpoints ends with the same curve and the same file, bit for
/// bit.</summary>
[Collection("tensors")]
public sealed class AdapterResumeTests : IDisposable
{
    private readonly AdapterRuns _runs = new();

    public void Dispose() => _runs.Dispose();

    [Theory]
    [InlineData("cpt", "init_lora_weights: pissa")]
    [InlineData("sft", "load_in_4bit: true", "bf16: true")]
    [InlineData("cpt", "optim: paged_adamw_8bit", "optim_args: min_8bit_size=16", "load_in_8bit: true")]
    [InlineData("dpo", "optim: paged_adamw_32bit", "load_in_4bit: true", "bf16: true")]
    public void A_checkpoint_leads_to_the_same_curve_and_the_same_adapter(string method, params string[] keys) => LeadsTo([2], method, keys);

    [Theory, Trait("speed", "slow")]
    [InlineData("cpt", "init_lora_weights: olora", "use_rslora: true", "lora_dropout: 0.2")]
    [InlineData("cpt", "init_lora_weights: gaussian", "loraplus_lr_ratio: 4", "lora_modules_to_save: [embed_tokens]")]
    [InlineData("cpt", "trainable_token_indices: [3, 5]", "use_dora: true", "gradient_checkpointing: true")]
    [InlineData("cpt", "init_lora_weights: pissa", "load_in_4bit: true", "use_bnb_nested_quant: true")]
    [InlineData("sft", "load_in_4bit: true", "use_bnb_nested_quant: true", "bnb_4bit_quant_type: fp4", "packing: true", "max_length: 64")]
    [InlineData("sft", "load_in_8bit: true", "use_dora: true")]
    [InlineData("cpt", "optim: adamw_bnb_8bit", "optim_args: min_8bit_size=16")]
    [InlineData("cpt", "optim: paged_adamw_8bit", "optim_args: min_8bit_size=16", "bf16: true")]
    [InlineData("cpt", "optim: paged_adamw_32bit", "use_peft: false", "bf16: true")]
    [InlineData("cpt", "optim: paged_adamw_8bit", "optim_args: min_8bit_size=16", "use_peft: false")]
    [InlineData("orpo", "adapter_dtype: bfloat16")]
    [InlineData("cpo", "load_in_8bit: true", "bf16: true")]
    [InlineData("reward", "init_lora_weights: pissa", "load_in_8bit: true")]
    [InlineData("kto", "load_in_4bit: true", "precompute_ref_log_probs: false")]
    [InlineData("bco", "lora_dropout: 0.2", "disable_dropout: false")]
    [InlineData("grpo", "load_in_4bit: true", "num_iterations: 2", "steps_per_generation: 2")]
    public void Any_checkpoint_leads_to_the_same_curve_and_the_same_adapter(string method, params string[] keys) =>
        LeadsTo([1, 2, 3], method, keys);

    private void LeadsTo(int[] steps, string method, string[] keys)
    {
        string[] all = ["save_strategy: steps", "save_steps: 1", "eval_strategy: steps", "eval_steps: 2", .. keys];
        _runs.Train(method, "whole", all);
        var curve = _runs.Curve("whole");
        var file = keys.Contains("use_peft: false") ? "model.safetensors" : "adapter_model.safetensors";
        foreach (var step in steps)
        {
            _runs.CutAfter("whole", $"from-{step}", step);
            _runs.Train(method, $"from-{step}", all);
            Assert.Equal(curve, _runs.Curve($"from-{step}"));
            Assert.True(File.ReadAllBytes(_runs["whole", file]).AsSpan().SequenceEqual(File.ReadAllBytes(_runs[$"from-{step}", file])),
                $"the weights after going on from step {step} differ");
        }
    }

    /// <summary>The reference of such a run is the adapter as it stood when the run began; nobody else keeps it.</summary>
    [Fact]
    public void A_run_whose_reference_was_overwritten_meanwhile_does_not_go_on()
    {
        string[] keys = [$"adapter_name_or_path: {_runs["a"]}", "save_strategy: steps", "save_steps: 2"];
        _runs.Train("cpt", "a", "lora_r: 2");
        var begun = AdapterChain.Link(_runs["a"], "a").Sha256[..12];
        _runs.Train("dpo", "whole", keys);
        _runs.CutAfter("whole", "cut", 2);
        _runs.CutAfter("whole", "later", 2);
        _runs.Train("dpo", "cut", keys);
        Assert.Equal(_runs.Curve("whole"), _runs.Curve("cut"));

        _runs.Train("cpt", "a", "lora_r: 2", "learning_rate: 0.1", "fresh: true");
        var now = AdapterChain.Link(_runs["a"], "a").Sha256[..12];
        var error = Assert.Throws<InputException>(() => _runs.Train("dpo", "later", keys));
        Assert.Equal($"adapter_name_or_path: {_runs["a"]} has other weights ({now}) than when the run began ({begun})", error.What);
        Assert.Contains("--fresh=true", error.Fix);
        Assert.Equal(error.What, Assert.Single(RecipeProbe.Of(_runs.Recipe("dpo", "later", keys)).Problems).Problem.What);
        Assert.Empty(RecipeProbe.Of(_runs.Recipe("dpo", "anew", keys)).Problems);

        // without a reference nothing of it is read again
        _runs.Train("cpt", "sft", [.. keys, "save_steps: 1"]);
        _runs.CutAfter("sft", "sft-later", 1);
        _runs.Train("cpt", "a", "lora_r: 2", "learning_rate: 0.2", "fresh: true");
        _runs.Train("cpt", "sft-later", [.. keys, "save_steps: 1"]);
        Assert.Equal(_runs.Curve("sft"), _runs.Curve("sft-later"));
    }

    [Fact]
    public void A_checkpoint_over_other_weights_is_told_by_validate_too()
    {
        string[] keys = [$"model_name_or_path: {_runs["a"]}", "save_strategy: steps", "save_steps: 2"];
        _runs.Train("cpt", "a", "lora_r: 2");
        _runs.Train("cpt", "whole", keys);
        _runs.CutAfter("whole", "cut", 2);
        Assert.Empty(RecipeProbe.Of(_runs.Recipe("cpt", "cut", keys)).Problems);
        _runs.Train("cpt", "a", "lora_r: 2", "learning_rate: 0.1", "fresh: true");
        var told = Assert.Single(RecipeProbe.Of(_runs.Recipe("cpt", "cut", keys)).Problems).Problem;
        Assert.Equal(Assert.Throws<InputException>(() => _runs.Train("cpt", "cut", keys)).Message, told.Message);
    }

    // a loss that only falls: the greatest is not the last
    [Theory]
    [InlineData("load_in_4bit: true"), InlineData("init_lora_weights: pissa")]
    public void The_best_adapter_is_taken_at_the_end_also_by_a_run_that_went_on(string key)
    {
        string[] all = ["save_strategy: steps", "save_steps: 1", "eval_strategy: steps", "eval_steps: 1", "load_best_model_at_end: true",
            "greater_is_better: true", "max_steps: 4", key];
        var losses = _runs.Train("cpt", "whole", all).Select(line => line.Number("eval_loss")).OfType<double>().ToArray();
        var best = 1 + losses.Index().MaxBy(loss => loss.Item).Index;
        Assert.InRange(best, 1, 2);

        Assert.Equal(File.ReadAllBytes(_runs["whole", $"checkpoint-{best}", "adapter_model.safetensors"]),
            File.ReadAllBytes(_runs["whole", "adapter_model.safetensors"]));
        foreach (var step in (int[])[best, 3])
        {
            _runs.CutAfter("whole", $"from-{step}", step);
            _runs.Train("cpt", $"from-{step}", all);
            Assert.Equal(File.ReadAllBytes(_runs["whole", "adapter_model.safetensors"]),
                File.ReadAllBytes(_runs[$"from-{step}", "adapter_model.safetensors"]));
        }
    }
}
