using System.Text.Json;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Training.Methods;

namespace Handbook.Tests.Sampling;

/// <summary>A small model of random weights with a tokenizer of single letters, prompts, and recipes on them.</summary>
internal sealed class SamplingFolder : IDisposable
{
    private const string Letters = " abcdefghijklmnopqrstuvwxyz0123456789";

    private readonly TemporaryFolder _folder = new();

    public SamplingFolder()
    {
        var vocabulary = string.Join(", ", Letters.Select((letter, i) => $"\"{letter}\": {i}").Append($"\"\\n\": {Letters.Length}"));
        Write("model/tokenizer.json", $$"""
            {"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
             "added_tokens": [{"id": 38, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
             "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
              "byte_fallback": false, "ignore_merges": false, "vocab": { {{vocabulary}} }, "merges": []} }
            """);
        Write("model/tokenizer_config.json",
            """{"eos_token": "</s>", "chat_template": "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>{% endif %}\n{% endfor %}"}""");
        Write("config.json",
            """{"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.2, "tie_word_embeddings": true}""");
        TorchRuntime.Load();
        var tokenizer = Tokenizer.Load(this["model"]);
        var config = NewModel.Config(this["config.json"], tokenizer);
        WeightFilesWriter.Save(this["model"], NewModel.Tensors(config, 3, DType.Float32));
        config.Save(this["model"]);
        Write("prompts.jsonl",
            string.Concat(Enumerable.Range(0, 6)
            .Select(i => $$"""{"prompt": "say the word number {{i}} please", "answer": "{{i}}"}""" + "\n")));
    }

    public string this[params string[] parts] => _folder[parts];

    public void Write(string name, string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(this[name])!);
        File.WriteAllText(this[name], text);
    }

    /// <summary>A recipe with model, prompts, short answers and a rule, changed by these lines.</summary>
    public Recipe Recipe(string lines, string output)
    {
        Write("recipe.yaml", $"""
            model_name_or_path: {this["model"]}
            dataset_name: {this["prompts.jsonl"]}
            output_dir: {this[output]}
            num_generations: 4
            max_completion_length: 12
            reward_funcs: regex
            reward_pattern: '[a-e]'
            stop_texts: [x]
            train_method: none
            per_device_train_batch_size: 4
            max_steps: 2
            logging_steps: 1
            report_to: none
            disable_tqdm: true
            """);
        string[] words = [.. lines.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => $"--{line.Replace(": ", "=")}")];
        var loaded = Handbook.Recipes.Recipe.Load(new FileInfo(this["recipe.yaml"]), words, TrainingMethod.RejectionSample);
        Assert.True(loaded.TryGet(out var recipe, out var diagnostics), diagnostics.ToString());
        return recipe;
    }

    public JsonElement[] Lines(params string[] file) =>
        [.. File.ReadAllLines(this[file]).Select(line => JsonSerializer.Deserialize<JsonElement>(line))];

    public void Dispose() => _folder.Dispose();
}
