using System.Collections;
using System.Reflection;
using System.Text.Json;
using Handbook.Recipes;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Plans;

namespace Handbook.Tests.Recipes;

public sealed class RecipeWriterTests
{
    [Fact]
    public void The_resolved_recipe_says_where_each_value_comes_from()
    {
        var yaml = RecipeFile.Load("model_name_or_path: m\ndataset_mixer: {d: 1.0}\ndataset_splits: [train]\nseed: 7\npush_to_hub: "
            + "true\nhub_token: secret\n", TrainingMethod.Cpt, "--max_steps=3").ToYaml();
        Assert.Contains("\nseed: 7\n", yaml);
        Assert.Contains("\nmax_steps: 3  # command line\n", yaml);
        Assert.Contains("\nlearning_rate: 5.0e-05  # default with dataset_mixer\n", yaml);
        Assert.Contains("\nadam_beta1: 0.9  # default\n", yaml);
        Assert.Contains("\neval_strategy: \"no\"  # default\n", yaml);
        Assert.Contains("\npush_to_hub: true\n", yaml);
        Assert.DoesNotContain("secret", yaml);
        Assert.DoesNotContain("assistant_only_loss", yaml);     // a key of another method
    }

    [Fact] // 200 seeds; each sets about a third of the keys to values that must survive
    public void Loading_the_resolved_recipe_again_gives_an_equal_recipe()
    {
        for (var seed = 0; seed < 200; seed++)
        {
            var random = new Random(seed);
            var method = random.Next(2) == 0 ? TrainingMethod.Sft : TrainingMethod.Cpt;
            var first = RecipeFile.Load(Some.Recipe(random, method), method);
            var again = RecipeFile.Load(first.ToYaml(), method);
            Assert.Equal(first.Dialect, again.Dialect);
            Equal(first.Model, again.Model);
            Equal(first.Data, again.Data);
            Equal(first.Training, again.Training);
            Equal(first.Sft, again.Sft);
            Equal(first.Adapter, again.Adapter);
            Equal(first.Hub, again.Hub);
        }
    }

    [Fact]
    public void The_resolved_recipe_reads_alike_in_older_yaml()
    {
        foreach (var line in RecipeFile.Load(RecipeFile.Good).ToYaml().Split('\n'))
            Assert.DoesNotMatch(@": \d+e", line);       // YAML 1.1 takes 1e-08 for a text; a point makes it a number
    }

    private static void Equal(object expected, object actual)
    {
        foreach (var property in expected.GetType().GetProperties(BindingFlags.Public | BindingFlags.Instance))
            Assert.Equal($"{property.Name}: {Plain(property.GetValue(expected))}", $"{property.Name}: {Plain(property.GetValue(actual))}");
    }

    private static string Plain(object? value) => value is IEnumerable or null ? JsonSerializer.Serialize(value) : value is DatasetMixture
        ? JsonSerializer.Serialize(value) : value.ToString()!;

    private static class Some
    {
        private static readonly string[] s_texts =
        [
            "plain", "two words", "no", "null", "3", "1e5", "with: colon", "# hash", "\"quoted\"", "it's", "tab\there", "line\nbreak",
                "line\n  indented\n\nlast\n", " leading", "trailing ", "ends\n\n",
            "{% for m in messages %}\n{{ m }}\n{% endfor %}", "é ü 漢字 😀", "\u0085odd\u2028", "\\ back", "<|im_end|>", "a,b", "[x]", "{y}",
                "*z", "&w", "!v", "%u", "@t", "`s", "back\\nslash", "\r\n",
        ];

        public static string Recipe(Random random, TrainingMethod method)
        {
            List<string> lines = [$"model_name_or_path: {Json("m" + Text(random))}"];
            lines.Add(random.Next(3) switch
            {
                0 => $"dataset_mixer: {{{Json("a" + Text(random))}: 0.25, \"b.c\": 1}}\ndataset_splits: [train_x, test_x]",
                1 => $"dataset_mixture: {{datasets: [{{id: {Json("a" + Text(random))}, columns: [messages], weight: 0.5, column_mapping: "
                    + $"{{prompt: {Json(Text(random))}}}}}, {{id: b, config: {Json(Text(random))}}}], seed: 3, test_split_size: 0.1}}",
                _ => $"dataset_name: {Json(Text(random))}",
            });
            foreach (var key in RecipeKeys.All.Where(key => key.Disposition == Disposition.Works && key.Serves(method)))
                if (random.Next(3) == 0 && Value(key, random) is { } value)
                    lines.Add($"{key.Name}: {value}");
            return string.Join('\n', lines);
        }

        // values that break no rule among keys
        private static string? Value(RecipeKey key, Random random) => key.Name switch
        {
            "model_name_or_path" or "tokenizer_name_or_path" or "chat_template_path" or "output_dir" or "optim_args" => null,
            "adapter_name_or_path" or "load_in_4bit" or "load_in_8bit" => null,
            "torch_dtype" => "bfloat16",
            "model_revision" => null,       // the name of the model may have another one behind it
            "hub_model_revision" or "base_model_revision" => "v1.0",
            "hub_model_id" or "push_to_hub_organization" => "name",
            "hub_token" => null,         // it is not written
            "zero_stage" => "0",         // others go with some optimisers alone
            "lora_task_type" => "CAUSAL_LM",
            "eval_strategy" => "steps",
            "metric_for_best_model" => "runtime",
            "load_best_model_at_end" or "lr_scheduler_type" or "lr_scheduler_kwargs" or "save_strategy" or "max_tokens" => null,
            "column_mapping" or "env" => $"{{name: {Json(Text(random))}}}",
            "report_to" => random.Next(2) == 0 ? "[tensorboard, wandb]" : "mlflow",
            "dataset_kwargs" => "{add_special_tokens: false}",
            "warmup_ratio" or "lora_dropout" or "max_bad_rows" or "adam_beta1" or "adam_beta2" or "label_smoothing_factor" =>
                random.NextDouble().ToString("R"),
            _ when key.Name.StartsWith("dataset_", StringComparison.Ordinal) && key.Name != "dataset_num_proc" => null,
            _ when key.Type == typeof(string) => Json(Text(random)),
            _ when key.Type == typeof(bool) || key.Type == typeof(bool?) => random.Next(2) == 0 ? "true" : "false",
            _ when key.Type == typeof(int) || key.Type == typeof(int?) || key.Type == typeof(long) || key.Type == typeof(long?) =>
                random.Next(2, 1000).ToString(),
            _ when key.Type == typeof(double) || key.Type == typeof(double?) => Math.Pow(10, random.NextDouble() * 20 - 12).ToString("R"),
            _ when key.Type == typeof(StepInterval) || key.Type == typeof(StepInterval?) => random.Next(2) == 0 ? "0.05"
                : random.Next(1, 1000).ToString(),
            _ => null,
        };

        private static string Text(Random random) => s_texts[random.Next(s_texts.Length)];

        private static string Json(string text) => JsonSerializer.Serialize(text);
    }
}
