using Handbook.Base;
using Handbook.Launch;
using Handbook.Testing;
using Handbook.Tests.Recipes;
using Handbook.Training;
using Handbook.Training.Methods;

namespace Handbook.Tests.Launch;

/// <summary>DeepSpeed's settings, in a file that a launcher's file names, or a recipe.</summary>
public sealed class DeepSpeedFileTests : IDisposable
{
    /// <summary>As the documentation of transformers has it for ZeRO-3 with offloading.</summary>
    private const string Published = """
        {
            "fp16": {"enabled": "auto", "loss_scale": 0, "loss_scale_window": 1000, "initial_scale_power": 16, "hysteresis": 2, "min_loss_scale": 1},
            "bf16": {"enabled": "auto"},
            "zero_optimization": {
                "stage": 3,
                "offload_optimizer": {"device": "nvme", "pin_memory": true},
                "offload_param": {"device": "cpu", "pin_memory": true},
                "overlap_comm": true,
                "contiguous_gradients": true,
                "sub_group_size": 1e9,
                "reduce_bucket_size": "auto",
                "stage3_prefetch_bucket_size": "auto",
                "stage3_param_persistence_threshold": "auto",
                "stage3_max_live_parameters": 1e9,
                "stage3_max_reuse_distance": 1e9,
                "stage3_gather_16bit_weights_on_model_save": true
            },
            "gradient_accumulation_steps": "auto",
            "gradient_clipping": "auto",
            "steps_per_print": 2000,
            "train_batch_size": "auto",
            "train_micro_batch_size_per_gpu": "auto",
            "wall_clock_breakdown": false
        }
        """;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void What_it_shares_out_becomes_keys_of_the_recipe()
    {
        var plan = Read(Published);
        Assert.Equal(["--zero_stage=3", "--offload_optimizer=nvme"], plan.Keys.Select(key => key.Word(null)));
        Assert.Equal("ds.json: zero_optimization.offload_param.device cpu has no effect: weights are in the machine's memory already",
            Assert.Single(plan.Notes));
        Assert.Empty(plan.Expected);        // auto: as the recipe says
    }

    [Theory]
    [InlineData("""{"gradient_accumulation_steps": 4}""", "gradient_accumulation_steps is 4, but gradient_accumulation_steps of the recipe is 1")]
    [InlineData("""{"gradient_clipping": 0.5}""", "gradient_clipping is 0.5, but max_grad_norm of the recipe is 1")]
    [InlineData("""{"train_micro_batch_size_per_gpu": 3}""", "train_micro_batch_size_per_gpu is 3, but per_device_train_batch_size of the recipe is 8")]
    public void What_the_recipe_says_too_has_to_agree(string json, string message) =>
        Assert.Contains(message, Assert.Throws<InputException>(() =>
            Assert.Single(Read(json).Expected).Compare(RecipeFile.Load(RecipeFile.Good))).Message);

    [Theory]
    [InlineData("""{"zero_optimisation": {"stage": 3}}""", "unknown key zero_optimisation")]
    [InlineData("""{"zero_optimization": {"stag": 3}}""", "unknown key zero_optimization.stag\n  why: did you mean zero_optimization.stage?")]
    [InlineData("""{"zero_optimization": {"stage": 4}}""", "zero_optimization.stage is 4")]
    [InlineData("""{"fp16": {"enabled": true}}""", "fp16.enabled is true, which is not built")]
    [InlineData("""{"zero_optimization": {"zero_quantized_weights": true}}""", "zero_quantized_weights is true")]
    [InlineData("""{"sparse_attention": {"mode": "fixed"}}""", "unknown key sparse_attention")]
    [InlineData("[1]", "not a mapping")]
    [InlineData("""{"bf16": """, "ds.json")]
    public void What_it_asks_in_vain_is_refused_by_name(string json, string message) =>
        Assert.Contains(message, Assert.Throws<InputException>(() => Read(json)).Message);

    [Theory]
    [InlineData("""{"optimizer": {"type": "AdamW", "params": {"lr": "auto"}}}""", "optimizer has no effect")]
    [InlineData("""{"scheduler": {"type": "WarmupLR"}}""", "scheduler has no effect")]
    [InlineData("""{"train_batch_size": 64}""", "train_batch_size 64 has no effect")]
    public void What_has_no_effect_is_said(string json, string note) => Assert.Contains(note, Assert.Single(Read(json).Notes));

    [Fact]
    public void A_file_of_the_launcher_names_it_from_beside_itself()
    {
        File.WriteAllText(_folder["ds.json"], """{"zero_optimization": {"stage": 2}}""");
        File.WriteAllText(_folder["a.yaml"], "deepspeed_config: {deepspeed_config_file: ds.json, zero3_init_flag: false}");
        Assert.Equal("--zero_stage=2", Assert.Single(AccelerateFile.Read(_folder["a.yaml"], new()).Keys).Word(null));

        File.WriteAllText(_folder["a.yaml"], "deepspeed_config: {deepspeed_config_file: ds.json, zero_stage: 3}");
        Assert.Contains("deepspeed_config.zero_stage is 3, but ds.json: zero_optimization.stage says 2",
            Assert.Throws<InputException>(() => AccelerateFile.Read(_folder["a.yaml"], new())).Message);
    }

    [Fact]
    public void A_recipe_names_it_or_holds_it()
    {
        File.WriteAllText(_folder["ds.json"], Published);
        var recipe = RecipeFile.Load(RecipeFile.Good + $"deepspeed: {_folder["ds.json"]}\n");
        Assert.Equal((3, OptimizerOffload.File), (recipe.Training.ZeroStage, recipe.Training.OffloadOptimizer));
        Assert.Contains("zero_stage: 3", recipe.ToYaml());          // what is resolved needs the file no more
        Assert.DoesNotContain("deepspeed:", recipe.ToYaml());

        Assert.Equal(2, RecipeFile.Load(RecipeFile.Good + "deepspeed: {zero_optimization: {stage: 2}}\n").Training.ZeroStage);
        Assert.Equal(3, RecipeFile.Load(RecipeFile.Good, TrainingMethod.Sft, "--deepspeed", _folder["ds.json"]).Training.ZeroStage);
        Assert.Equal(0, RecipeFile.Load(RecipeFile.Good + "deepspeed: null\n").Training.ZeroStage);
    }

    [Theory]
    [InlineData("deepspeed: none.json\n", "deepspeed: none.json does not exist")]
    [InlineData("deepspeed: {zero_optimization: {stage: 2}}\nzero_stage: 3\n", "asks for zero_stage 2, but the recipe says something else")]
    [InlineData("deepspeed: {gradient_accumulation_steps: 4}\n", "gradient_accumulation_steps is 4, but gradient_accumulation_steps of the recipe is 1")]
    [InlineData("deepspeed: {fp16: {enabled: true}}\n", "fp16.enabled is true, which is not built")]
    public void What_contradicts_the_recipe_is_an_error_at_its_line(string lines, string message)
    {
        var said = RecipeFile.Said(RecipeFile.Good + lines);
        Assert.Contains("r.yaml:4:", said);
        Assert.Contains("error: ", said);
        Assert.Contains(message, said);
    }

    [Fact]
    public void What_is_noted_is_noted_at_its_line() =>
        Assert.Contains("deepspeed: bf16.enabled has no effect: the recipe's bf16 decides",
            RecipeFile.Said(RecipeFile.Good + "deepspeed: {bf16: {enabled: true}}\n"));

    private LaunchPlan Read(string json)
    {
        File.WriteAllText(_folder["ds.json"], json);
        return DeepSpeedFile.Read(_folder["ds.json"], "deepspeed", new());
    }
}
