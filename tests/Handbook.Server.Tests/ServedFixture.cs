using System.Text.Json.Nodes;
using Handbook.Base.Progress;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Models.Serving;
using Handbook.Serving;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Training;
using Handbook.Torch;

namespace Handbook.Server.Tests;

/// <summary>A small model that has learned nothing but is sure of what it says, two adapters over it, and a server that has both.</summary>
public sealed class ServedFixture : IAsyncLifetime
{
    public const string Template = """
        {%- if tools %}{{ '<|im_start|>system\nTools: ' + (tools | tojson) + ' Call: <tool_call>{"name": …, "arguments": …}</tool_call><|im_end|>\n' }}{% endif %}
        {%- for message in messages %}
        {{- '<|im_start|>' + message['role'] + '\n' + message['content'] }}
        {%- for call in message.tool_calls or [] %}{{ '<tool_call>' + (call.function | tojson) + '</tool_call>' }}{% endfor %}
        {{- '<|im_end|>\n' }}
        {%- endfor %}
        {%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
        """;

    private readonly TemporaryFolder _folder = new();

    internal ServedModels Models { get; private set; } = null!;

    internal ApiServer Server { get; private set; } = null!;

    internal HttpClient Http { get; private set; } = null!;

    internal string Folder => _folder.Path;

    public async ValueTask InitializeAsync()
    {
        Make(Path.Combine(Folder, "base"));
        MakeAdapter(Path.Combine(Folder, "one"), 1);
        MakeAdapter(Path.Combine(Folder, "two"), 2);
        Models = Open(new());
        Server = await ApiServer.Start(Models, new() { Port = 0 });
        Http = Client(Server);
    }

    /// <summary>The same models once more.</summary>
    internal ServedModels Open(EngineOptions options) => ServedModels.Open(ModelSource.Find(Path.Combine(Folder, "base")), "base",
        [new("one", Path.Combine(Folder, "one")), new("two", Path.Combine(Folder, "two"))], DType.Float32, null, options, new Silent());

    internal static HttpClient Client(ApiServer server, string? key = null)
    {
        var client = new HttpClient { BaseAddress = server.Address };
        if (key is not null)
            client.DefaultRequestHeaders.Authorization = new("Bearer", key);
        return client;
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        await Server.DisposeAsync();
        Models.Dispose();
        _folder.Dispose();
    }

    private static void Make(string folder)
    {
        var tokenizer = new BpeTrainerOptions
        {
            VocabularySize = 400,
            SpecialTokens = ["<|im_start|>", "<|im_end|>"],
            EosToken = "<|im_end|>",
            ChatTemplate = Template,
        }.Train(Enumerable.Range(0, 50).Select(i => $"one two three four {i}, the sun and the moon, Übergröße, 日本語, 😀 {{\"a\": [1, 2.5, true, null]}}"));
        var config = PublishedConfig.Parse(System.Text.Encoding.UTF8.GetBytes(new JsonObject
        {
            ["model_type"] = "llama",
            ["vocab_size"] = tokenizer.VocabularySize,
            ["hidden_size"] = 32,
            ["intermediate_size"] = 64,
            ["num_hidden_layers"] = 2,
            ["num_attention_heads"] = 2,
            ["max_position_embeddings"] = 640,
            ["initializer_range"] = 0.4,
            ["tie_word_embeddings"] = true,
            ["eos_token_id"] = tokenizer.EosId,
        }.ToJsonString()), "config.json");
        Directory.CreateDirectory(folder);
        WeightFilesWriter.Save(folder, NewModel.Tensors(config, 3, DType.Float32));
        tokenizer.Save(folder);
        config.Save(folder);
    }

    private static void MakeAdapter(string folder, int seed)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), $$"""
            {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "{{Path.Combine(Path.GetDirectoryName(folder)!, "base")}}", "r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "bias": "none",
             "target_modules": ["q_proj", "down_proj"]}
            """);
        var random = new Random(seed);
        var tensors = new List<TensorToSave>();
        for (var layer = 0; layer < 2; layer++)
            foreach (var (module, inputs, outputs) in new[] { ("self_attn.q_proj", 32, 32), ("mlp.down_proj", 64, 32) })
            {
                tensors.Add(Some($"base_model.model.model.layers.{layer}.{module}.lora_A.weight", 4, inputs));
                tensors.Add(Some($"base_model.model.model.layers.{layer}.{module}.lora_B.weight", outputs, 4));
            }
        WeightFilesWriter.Save(folder, tensors, new() { Name = "adapter_model", Metadata = new Dictionary<string, string> { ["format"] = "pt" } });

        TensorToSave Some(string name, int rows, int columns) =>
            TensorToSave.From(name, [.. Enumerable.Range(0, rows * columns).Select(_ => (float)(random.NextDouble() - 0.5))], rows, columns);
    }

    private sealed class Silent : IWorkObserver
    {
    }
}
