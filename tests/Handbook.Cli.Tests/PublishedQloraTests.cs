using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Cli.Tests;

/// <summary>The QLoRA recipes of Zephyr 7B, with every key that they were published with, on a tiny model of the same family: from a base
/// through SFT and DPO to a merged model. Only the names of model and data are others.</summary>
public sealed class PublishedQloraTests : IDisposable
{
    private const string Adapter = """
        use_peft: true
        load_in_4bit: true
        lora_dropout: 0.05
        lora_target_modules:
        - q_proj
        - k_proj
        - v_proj
        - o_proj
        - gate_proj
        - up_proj
        - down_proj
        """;

    private const string Common = """
        torch_dtype: bfloat16
        lr_scheduler_type: cosine
        warmup_ratio: 0.1
        num_train_epochs: 1
        per_device_train_batch_size: 4
        per_device_eval_batch_size: 8
        bf16: true
        gradient_checkpointing: true
        gradient_checkpointing_kwargs:
          use_reentrant: false
        do_eval: true
        save_strategy: "steps"
        save_steps: 100
        save_total_limit: 1
        log_level: info
        seed: 42
        push_to_hub: true
        """;

    private const string Sft = """
        model_name_or_path: model
        model_revision: main
        chat_template: "{% for message in messages %}{% if message['role'] in ['user', 'system', 'assistant'] %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
        lora_r: 16
        lora_alpha: 16
        learning_rate: 2.0e-04
        max_steps: -1
        gradient_accumulation_steps: 2
        max_seq_length: 2048
        logging_strategy: steps
        logging_steps: 5
        report_to:
        - tensorboard
        overwrite_output_dir: true
        output_dir: data/zephyr-7b-sft-qlora
        hub_model_id: zephyr-7b-sft-qlora
        hub_strategy: every_save
        """;

    // The newer handbook's file still has the older way of naming data.
    private const string Dpo = """
        model_name_or_path: data/zephyr-7b-sft-qlora
        lora_r: 128
        lora_alpha: 128
        dataset_mixer:
          pairs: 1.0
        dataset_splits:
        - train_prefs
        - test_prefs
        learning_rate: 5.0e-06
        gradient_accumulation_steps: 4
        optim: paged_adamw_32bit
        max_length: 1024
        max_prompt_length: 512
        beta: 0.01
        eval_steps: 100
        logging_steps: 10
        output_dir: data/zephyr-7b-dpo-qlora
        hub_model_id: zephyr-7b-dpo-qlora
        """;

    private const string OlderMixture = """
        dataset_mixer:
          chats: 1.0
        dataset_splits:
        - train_sft
        - test_sft
        """;

    private const string NewerMixture = """
        dataset_mixture:
          datasets:
          - id: chats
            config: default
            split: train_sft
            columns:
            - messages
            weight: 1.0
          - id: chats
            config: default
            split: test_sft
            columns:
            - messages
            weight: 1.0
          seed: 0
          test_split_size: 10
        """;

    private const string Older = "use_flash_attention_2: true\npreprocessing_num_workers: 12\nevaluation_strategy: ";
    private const string Newer = "attn_implementation: flash_attention_2\ndataset_num_proc: 12\neval_strategy: ";

    private readonly HandbookProcess _handbook = new();

    [Fact]
    [Trait("speed", "slow")]
    public void The_recipes_of_the_first_handbook_run_unchanged_from_base_to_merged_model() =>
        RunBoth($"{Sft}\n{OlderMixture}\n{Older}epoch\n{Adapter}\n{Common}\n", $"{Dpo}\n{Older}steps\n{Adapter}\n{Common}\n");

    [Fact]
    [Trait("speed", "slow")]
    public void The_recipes_of_the_newer_handbook_run_unchanged_from_base_to_merged_model() =>
        RunBoth($"{Sft}\n{NewerMixture}\n{Newer}epoch\n{Adapter}\n{Common}\n", $"{Dpo}\n{Newer}steps\n{Adapter}\n{Common}\n");

    [Fact]
    [Trait("speed", "slow")]
    public void Our_own_recipes_run_from_base_to_merged_model() => RunBoth(
        Own("sft").Replace("mistralai/Mistral-7B-v0.1", "model").Replace("HuggingFaceH4/ultrachat_200k", "chats"),
        Own("dpo").Replace("alignment-handbook/zephyr-7b-sft-qlora", "data/zephyr-7b-sft-qlora")
            .Replace("HuggingFaceH4/ultrafeedback_binarized", "pairs"));

    public void Dispose() => _handbook.Dispose();

    private static string Own(string stage) =>
        File.ReadAllText(Path.Combine(SharedFiles.Repository, "recipes", "zephyr-7b-beta", stage, "config_qlora.yaml"));

    private void RunBoth(string sft, string dpo)
    {
        MakeModelAndRows();
        _handbook.Write("sft/config_qlora.yaml", sft);
        _handbook.Write("dpo/config_qlora.yaml", dpo);
        const string below = "data/zephyr-7b-sft-qlora", top = "data/zephyr-7b-dpo-qlora";

        Run("sft", "sft/config_qlora.yaml");
        Holds(below, 16, ["model"]);
        Run("dpo", "dpo/config_qlora.yaml");
        Holds(top, 128, ["model", below]);
        // Without the new adapter the model is its own reference: −log σ(0).
        Assert.Equal(0.693147, Metric(top, "loss"), 1e-6);
        Assert.Equal(0, Metric(top, "rewards/margins"), 1e-6);

        var merged = Run("merge", top, "--out", "merged").Output;
        Assert.Matches(@"^merged: model \([0-9a-f]{12}\) \+ data/zephyr-7b-sft-qlora \([0-9a-f]{12}\) \+ data/zephyr-7b-dpo-qlora \(",
            merged);
        Assert.Contains("\n14 layers changed, float32, ", merged);
        Assert.Matches(@"\ndifference from the model as it was trained, over weights in nf4 \(\d", merged);
        Assert.Contains("\nkept: the dequantised values", merged);
        Run("merge", top, "--out", "original", "--into", "original", "--max-drift", "100");
        string[] question = ["the sun and", "--temperature", "0", "--max-new-tokens", "16"];
        Assert.Equal(Run(["generate", top, "--over", "original", .. question]).Output, Run(["generate", "original", .. question]).Output);
    }

    /// <summary>Requires an adapter of a rank on all seven kinds of layers, trained over nf4 weights, and on what it lies.</summary>
    private void Holds(string folder, int rank, string[] chain)
    {
        var config = JsonNode.Parse(File.ReadAllText(At(folder, "adapter_config.json")))!;
        Assert.Equal(rank, (int)config["r"]!);
        Assert.Equal(rank, (int)config["lora_alpha"]!);
        Assert.Equal(chain[^1], (string)config["base_model_name_or_path"]!);
        using var files = WeightFiles.Open(At(folder, "adapter_model.safetensors"));
        Assert.Equal("nf4", files.Metadata["quantised"]);
        Assert.Equal(chain, JsonSerializer.Deserialize<string[][]>(files.Metadata["trained_on"])!.Select(link => link[0]));
        var matrices = files.Names.Where(name => name.Contains("lora_B")).ToArray();
        Assert.Equal(14, matrices.Length);
        // as the reference trainer over 4-bit weights
        Assert.All(files.Names, name => Assert.Equal(DType.BFloat16, files.Info(name).DType));
        Assert.All(matrices, name => Assert.Contains(TensorBytes(files, name), value => value != 0));
        var card = File.ReadAllText(At(folder, "README.md"));
        Assert.Contains("library_name: peft\n", card);
        Assert.Contains("kept as codes: nf4 (", card);
    }

    private static byte[] TensorBytes(WeightFiles files, string name)
    {
        using var stream = new MemoryStream();
        TensorToSave.From(files.Read(name)).Write(stream);
        return stream.ToArray();
    }

    private double Metric(string run, string name) => File.ReadLines(At(run, "metrics.jsonl")).Select(line =>
        JsonNode.Parse(line)!.AsObject())
        .First(row => row.ContainsKey(name))[name]!.GetValue<double>();

    private void MakeModelAndRows()
    {
        var random = new Random(1);
        string[] all = [.. "the sun moon river bread stone house green old and sings over under near quick water".Split(' ')];
        string Words(int count) => string.Join(' ', Enumerable.Range(0, count).Select(_ => all[random.Next(all.Length)]));
        object[] Turns(string question, string answer) =>
            [new { role = "user", content = question }, new { role = "assistant", content = answer }];
        void Rows(string set, string split, int count, Func<string, object> row) => _handbook.Write($"{set}/{split}.jsonl",
            string.Concat(Enumerable.Range(0, count).Select(_ => JsonSerializer.Serialize(row(Words(12))) + "\n")));
        foreach (var (split, count) in (ReadOnlySpan<(string, int)>)[("train_sft", 460), ("test_sft", 24)])
            Rows("chats", split, count, question => new { prompt = question, messages = Turns(question, Words(60)) });
        foreach (var (split, count) in (ReadOnlySpan<(string, int)>)[("train_prefs", 48), ("test_prefs", 8)])
            Rows("pairs", split, count, question => new
            {
                prompt = question,
                chosen = Turns(question, Words(16)),
                rejected = Turns(question, Words(16))
            });
        _handbook.Write("corpus.txt", string.Join('\n', Enumerable.Range(0, 50).Select(_ => Words(20))));
        _handbook.Write("config.json", """
            {"model_type": "mistral", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "max_position_embeddings": 4096, "sliding_window": 256, "initializer_range": 0.2}
            """);
        Run("tokenizer", "train", "corpus.txt", "--vocab-size", "320", "--output", "tok", "--eos-token", "</s>", "--special-token", "<s>");
        Run("init", "--config", "config.json", "--tokenizer", "tok", "--output", "model", "--seed", "3");
    }

    private string At(params string[] parts) => Path.Combine([_handbook.Folder, .. parts]);

    private Outcome Run(params string[] words) => SmallModel.Succeed(_handbook.Run(words));
}
