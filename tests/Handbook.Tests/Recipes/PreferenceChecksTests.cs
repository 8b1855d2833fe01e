using Handbook.Base;
using Handbook.Recipes;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Tests.Recipes;

/// <summary>Combinations of preference keys that make no sense are refused, with the reason.</summary>
public sealed class PreferenceChecksTests
{
    public static TheoryData<string, TrainingMethod, PreferenceOptions, string> Refused() => new()
    {
        { "beta", TrainingMethod.Dpo, new() { Beta = -0.1 }, "beta is -0.1, but must be greater than 0" },
        { "unknown loss", TrainingMethod.Dpo, new() { LossType = ["sigmiod"] },
            "loss_type is sigmiod, which dpo does not have\n  fix: did you mean sigmoid?" },
        { "another method's loss", TrainingMethod.Dpo, new() { LossType = ["simpo"] }, "fix: run the recipe with handbook cpo" },
        { "another method", TrainingMethod.Dpo, new() { LossType = ["kto"] }, "fix: run the recipe with handbook kto" },
        { "orpo as a loss", TrainingMethod.Dpo, new() { LossType = ["orpo"] }, "fix: run the recipe with handbook orpo" },
        { "a word that is near none", TrainingMethod.Dpo, new() { LossType = ["foo"] },
            "loss_type is foo, which dpo does not have\n  fix: use one of sigmoid, hinge, ipo" },
        { "no loss", TrainingMethod.Dpo, new() { LossType = [] }, "loss_type is empty" },
        { "two losses", TrainingMethod.Kto, new() { LossType = ["kto", "apo_zero_unpaired"] }, "loss_type has 2 losses, but kto has one" },
        { "weights", TrainingMethod.Dpo, new() { LossType = ["sigmoid", "sft"], LossWeights = [1] },
            "loss_weights has 1 weight for 2 losses" },
        { "negative weight", TrainingMethod.Dpo, new() { LossWeights = [-1] }, "loss_weights has -1, but weights must be 0 or greater" },
        { "no weight", TrainingMethod.Dpo, new() { LossWeights = [0] }, "loss_weights are all 0" },
        { "robust", TrainingMethod.Dpo, new() { LossType = ["robust"], LabelSmoothing = 0.5 },
            "label_smoothing is 0.5, but must be below 0.5 with loss_type robust" },
        { "smoothing", TrainingMethod.Cpo, new() { LabelSmoothing = 1 }, "label_smoothing is 1, but must be at least 0 and below 0.5" },
        { "exo in 1.9", TrainingMethod.Dpo, new() { LossType = ["exo_pair"], TrlCompat = TrlRelease.V1_9 },
            "label_smoothing is 0, but loss_type exo_pair needs more" },
        { "divergence with aot", TrainingMethod.Dpo, new() { LossType = ["aot"], FDivergenceType = Divergence.JensenShannon },
            "f_divergence_type is js_divergence together with loss_type aot" },
        { "divergence with apo", TrainingMethod.Dpo, new() { LossType = ["apo_zero"], FDivergenceType = Divergence.ForwardKl },
            "together with loss_type apo_zero" },
        { "divergence in 0.24", TrainingMethod.Dpo, new() { LossType = ["nca_pair"], FDivergenceType = Divergence.Alpha,
            TrlCompat = TrlRelease.V0_24 }, "together with loss_type nca_pair of TRL 0.24" },
        { "forward_kl in 0.24", TrainingMethod.Dpo, new() { FDivergenceType = Divergence.ForwardKl, TrlCompat = TrlRelease.V0_24 },
            "forward_kl, which TRL 0.24 does not have" },
        { "wpo with aot", TrainingMethod.Dpo, new() { LossType = ["aot_pair"], UseWeighting = true },
            "use_weighting is on together with loss_type aot_unpaired" },
        { "ld_alpha", TrainingMethod.Dpo, new() { LdAlpha = 1.5 }, "ld_alpha is 1.5, but must lie between 0 and 1" },
        { "rpo_alpha", TrainingMethod.Dpo, new() { RpoAlpha = -1 }, "rpo_alpha is -1" },
        { "tau", TrainingMethod.Dpo, new() { LossType = ["discopop"], DiscopopTau = 0 }, "discopop_tau is 0" },
        { "moving nothing", TrainingMethod.Dpo, new() { SyncRefModel = true, ReferenceFree = true },
            "sync_ref_model is on together with reference_free" },
        { "moving what is kept", TrainingMethod.Dpo, new() { SyncRefModel = true, PrecomputeRefLogProbs = true },
            "sync_ref_model is on together with precompute_ref_log_probs" },
        { "unread reference", TrainingMethod.Dpo, new() { RefModelNameOrPath = "m", ReferenceFree = true },
            "ref_model_name_or_path is given together with reference_free" },
        { "sync steps", TrainingMethod.Dpo, new() { RefModelSyncSteps = 0 }, "ref_model_sync_steps is 0" },
        { "mixup", TrainingMethod.Dpo, new() { RefModelMixupAlpha = 2 }, "ref_model_mixup_alpha is 2" },
        { "desirable", TrainingMethod.Kto, new() { DesirableWeight = -1 }, "desirable_weight is -1" },
        { "nothing desirable", TrainingMethod.Kto, new() { DesirableWeight = 0, UndesirableWeight = 0 },
            "desirable_weight and undesirable_weight are both 0" },
        { "cpo_alpha", TrainingMethod.Cpo, new() { CpoAlpha = -1 }, "cpo_alpha is -1" },
        { "density", TrainingMethod.Bco, new() { UseDensityRatio = true, MinDensityRatio = 0 }, "min_density_ratio is 0" },
        { "density order", TrainingMethod.Bco, new() { UseDensityRatio = true, MaxDensityRatio = 0.1 },
            "max_density_ratio is 0.1, below min_density_ratio 0.5" },
        { "prompt length", TrainingMethod.Orpo, new() { MaxPromptLength = 0 }, "max_prompt_length is 0" },
        { "answer length", TrainingMethod.Grpo, new() { MaxCompletionLength = 0 }, "max_completion_length is 0" },
    };

    public static TheoryData<string, TrainingMethod, PreferenceOptions, string> Warned() => new()
    {
        { "smoothing without effect", TrainingMethod.Dpo, new() { LossType = ["hinge"], LabelSmoothing = 0.1 },
            "label_smoothing has no effect on loss_type hinge" },
        { "smoothing in 1.9", TrainingMethod.Dpo, new() { LabelSmoothing = 0.1, TrlCompat = TrlRelease.V1_9 },
            "label_smoothing has no effect on loss_type sigmoid in TRL 1.9" },
        { "cpo smoothing", TrainingMethod.Cpo, new() { LossType = ["ipo"], LabelSmoothing = 0.1 },
            "label_smoothing has no effect on loss_type ipo" },
        { "smoothing above a half", TrainingMethod.Dpo, new() { LabelSmoothing = 0.6 }, "label_smoothing is 0.6" },
        { "alpha unread", TrainingMethod.Dpo, new() { FAlphaDivergenceCoef = 0.5 },
            "f_alpha_divergence_coef has no effect with f_divergence_type reverse_kl" },
        { "alpha of reverse KL", TrainingMethod.Dpo, new() { FAlphaDivergenceCoef = 1, FDivergenceType = Divergence.Alpha },
            "f_alpha_divergence_coef is 1, where alpha_divergence is reverse_kl" },
        { "half a divergence", TrainingMethod.Dpo, new() { LossType = ["apo_down"], FDivergenceType = Divergence.JensenShannon },
            "only the second half of loss_type apo_down" },
        { "divergence of sft", TrainingMethod.Dpo, new() { LossType = ["sft"], FDivergenceType = Divergence.JensenShannon },
            "f_divergence_type has no effect on loss_type sft" },
        { "twice the same", TrainingMethod.Dpo, new() { LossType = ["sigmoid", "sft"], RpoAlpha = 1 }, "rpo_alpha adds to the loss sft" },
        { "rpo in 1.9", TrainingMethod.Dpo, new() { RpoAlpha = 1, TrlCompat = TrlRelease.V1_9 }, "rpo_alpha is not a key of TRL 1.9" },
        { "alphapo without alpha", TrainingMethod.Cpo, new() { LossType = ["alphapo"] }, "alpha is 0, where alphapo is simpo" },
    };

    [Theory, MemberData(nameof(Refused))]
    public void What_cannot_be_meant_is_refused(string title, TrainingMethod method, PreferenceOptions options, string message)
    {
        var report = Check(method, options);
        Assert.True(report.HasErrors, title);
        Assert.Contains(message, report.ToString(), StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Warned))]
    public void What_is_probably_a_mistake_is_told(string title, TrainingMethod method, PreferenceOptions options, string message)
    {
        var report = Check(method, options);
        Assert.False(report.HasErrors, title);
        Assert.Contains(message, report.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Groups_that_are_too_small_are_told()
    {
        var one = new TrainingOptions { PerDeviceTrainBatchSize = 1, GradientAccumulationSteps = 4 };
        Assert.Empty(Check(TrainingMethod.Kto, new(), one).All);            // the step is the group: 4 rows
        Assert.True(Check(TrainingMethod.Kto, new() { TrlCompat = TrlRelease.V1_9 }, one).HasErrors);
        Assert.Contains("per_device_train_batch_size is 1",
            Check(TrainingMethod.Kto, new(), new() { PerDeviceTrainBatchSize = 1 }).ToString(), StringComparison.Ordinal);
        var evaluated = new TrainingOptions { PerDeviceEvalBatchSize = 1, DoEval = true };
        Assert.Empty(Check(TrainingMethod.Kto, new(), evaluated).All);      // held-out rows meet each other in groups of the same size
        Assert.Empty(Check(TrainingMethod.Kto, new() { TrlCompat = TrlRelease.V0_24 }, evaluated).All);
        // the reference rotates held-out rows in blocks of the training batch
        Assert.Empty(Check(TrainingMethod.Kto, new() { LossType = ["apo_zero_unpaired"], TrlCompat = TrlRelease.V1_9 }, one).All);
        var sorted = Check(TrainingMethod.Dpo, new() { LossType = ["aot"], TrlCompat = TrlRelease.V0_24 }, one);
        Assert.Contains("aot sorts or averages within a micro-batch in TRL 0.24", sorted.ToString(), StringComparison.Ordinal);
        Assert.Contains("aot compares pairs, but there is one in a step", sorted.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(TrainingMethod.Dpo), InlineData(TrainingMethod.Orpo), InlineData(TrainingMethod.Kto), InlineData(TrainingMethod.Cpo),
        InlineData(TrainingMethod.Bco)]
    [InlineData(TrainingMethod.Reward)]
    public void Defaults_are_silent(TrainingMethod method) => Assert.Empty(Check(method, new()).All);

    [Theory]
    [InlineData(TrainingMethod.Dpo, "max_length: 256\nmax_prompt_length: 300\n", "warning: max_prompt_length is 300, above max_length 256")]
    [InlineData(TrainingMethod.Dpo, "max_length: 256\nmax_prompt_length: 256\n", null)]
    // its prompts alone are cut
    [InlineData(TrainingMethod.Grpo, "reward_funcs: [exact_match]\nmax_length: 256\nmax_prompt_length: 300\n", null)]
    public void A_prompt_that_may_be_longer_than_its_row_is_told(TrainingMethod method, string lines, string? message)
    {
        var said = RecipeFile.Said(RecipeFile.Good + lines, method);
        if (message is null)
            Assert.DoesNotContain("above max_length", said, StringComparison.Ordinal);
        else
            Assert.Contains(message, said, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("1.0")]     // a number is no mistyped word
    [InlineData("v2")]
    public void A_release_that_is_near_none_names_them_all(string release) =>
        Assert.Contains("not one of 0.24, 1.9\n",
            RecipeFile.Said(RecipeFile.Good + $"trl_compat: \"{release}\"\n", TrainingMethod.Dpo), StringComparison.Ordinal);

    [Theory]
    [InlineData(TrainingMethod.Sft), InlineData(TrainingMethod.Cpt), InlineData(TrainingMethod.Dpo), InlineData(TrainingMethod.Orpo),
        InlineData(TrainingMethod.Kto)]
    [InlineData(TrainingMethod.Cpo), InlineData(TrainingMethod.Bco), InlineData(TrainingMethod.Reward), InlineData(TrainingMethod.Grpo),
        InlineData(TrainingMethod.RejectionSample)]
    public void A_release_can_be_named_for_every_method(TrainingMethod method)
    {
        var own = method is TrainingMethod.Grpo or TrainingMethod.RejectionSample ? "reward_funcs: exact_match\n" : "";
        foreach (var release in new[] { "0.24", "1.9" })
        {
            using var file = new RecipeFile($"{RecipeFile.Good}{own}trl_compat: \"{release}\"\n");
            var result = Recipe.Load(file.File, [], method);
            Assert.DoesNotContain("trl_compat", result.Diagnostics.ToString(), StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(TrainingMethod.Dpo), InlineData(TrainingMethod.Orpo), InlineData(TrainingMethod.Kto), InlineData(TrainingMethod.Cpo),
        InlineData(TrainingMethod.Bco)]
    public void The_default_length_of_a_prompt_warns_nobody_who_did_not_set_it(TrainingMethod method)
    {
        Assert.DoesNotContain("max_prompt_length", RecipeFile.Said(RecipeFile.Good + "max_length: 128\n", method),
            StringComparison.Ordinal);
        Assert.Contains("max_prompt_length is 200, above max_length 128",
            RecipeFile.Said(RecipeFile.Good + "max_length: 128\nmax_prompt_length: 200\n", method), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(TrainingMethod.Kto, "trl_compat: \"0.24\"\nmax_length: 256\n",
        "r.yaml:5:13: warning: max_length is 256 and max_prompt_length 512: a row that is longer is left out")]
    [InlineData(TrainingMethod.Cpo, "trl_compat: \"0.24\"\nmax_length: 512\n", "fix: set max_prompt_length: 256, or a larger max_length")]
    [InlineData(TrainingMethod.Orpo, "trl_compat: \"0.24\"\nmax_length: 64\nmax_prompt_length: 64\n",
        "max_length is 64 and max_prompt_length 64")]
    [InlineData(TrainingMethod.Bco, "trl_compat: \"0.24\"\nmax_length: 66\nmax_prompt_length: 64\n",
        "max_length is 66 and max_prompt_length 64")]
    public void Lengths_that_leave_no_answer_to_long_rows_are_told(TrainingMethod method, string lines, string message)
    {
        Assert.Contains(message, RecipeFile.Said(RecipeFile.Good + lines, method), StringComparison.Ordinal);
        Assert.DoesNotContain("left out", RecipeFile.Said(RecipeFile.Good + lines.Replace("\"0.24\"", "null", StringComparison.Ordinal),
            method), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("rpo_alpha: 0.5\nloss_type: [hinge, ipo]\nloss_weights: [1, 0.2]\n",
        "loss_type: [hinge, ipo, sft] with loss_weights: [1.0, 0.2, 0.5]")]
    [InlineData("rpo_alpha: 0.5\nloss_type: [sigmoid, sft]\n", "loss_type: [sigmoid, sft] with loss_weights: [1.0, 1.5]")]
    [InlineData("rpo_alpha: 0.5\nloss_type: hinge\ntrl_compat: \"1.9\"\n",
        "fix: write loss_type: [hinge, sft] with loss_weights: [1.0, 0.5]")]
    public void An_older_weight_of_the_likelihood_is_translated_into_the_same_loss(string lines, string same)
    {
        var said = RecipeFile.Said(RecipeFile.Good + lines, TrainingMethod.Dpo);
        Assert.Contains(same, said, StringComparison.Ordinal);
        Assert.DoesNotContain("sft, sft", said, StringComparison.Ordinal);
    }

    [Fact]
    public void A_negative_centring_coefficient_is_refused()
    {
        var report = new Diagnostics("r.yaml");
        Check(new Recipe { Method = TrainingMethod.Reward, Path = "r.yaml", Reward = new() { CenterRewardsCoefficient = -1 } }, report);
        Assert.Contains("center_rewards_coefficient is -1", report.ToString(), StringComparison.Ordinal);
    }

    private static Diagnostics Check(TrainingMethod method, PreferenceOptions options, TrainingOptions? training = null)
    {
        var report = new Diagnostics("r.yaml");
        Check(new Recipe { Method = method, Path = "r.yaml", Preference = options, Training = training ?? new() }, report);
        return report;
    }

    private static void Check(Recipe recipe, Diagnostics report)
    {
        AnswerLengths.Check(recipe, report);
        recipe.Definition.Check(recipe, report);
    }
}
