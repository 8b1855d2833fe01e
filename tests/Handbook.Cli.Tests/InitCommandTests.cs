namespace Handbook.Cli.Tests;

public sealed class InitCommandTests : IDisposable
{
    private const string Tokenizer = """
        {"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
         "added_tokens": [{"id": 3, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
         "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
          "byte_fallback": false, "ignore_merges": false, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}}
        """;

    private const string Config = """{"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16, "my_key": 1}""";

    private readonly HandbookProcess _handbook = new();

    public InitCommandTests()
    {
        _handbook.Write("tok/tokenizer.json", Tokenizer);
        _handbook.Write("tok/tokenizer_config.json", """{"eos_token": "</s>"}""");
        _handbook.Write("config.json", Config);
    }

    [Fact]
    public void A_new_model_is_a_whole_folder()
    {
        var outcome = Init("new");
        Assert.Equal("", outcome.Error);
        Assert.Equal(0, outcome.Code);
        // By hand, D = 8: (4 tokens, 16 positions)·D + 2·(two norms 4D, attention 4D² + 4D, mlp 8D² + 5D) + norm 2D = 1,920.
        Assert.Contains("new: gpt2 with 1,920 parameters, 10.2 kB as float32, seed 42", outcome.Output);
        Assert.Contains("vocabulary: 4 tokens\n", outcome.Output);
        Assert.Equal(["config.json", "generation_config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json",
            "tokenizer_config.json"],
            Directory.GetFiles(At("new")).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        var config = File.ReadAllText(At("new/config.json"));
        Assert.Contains("\"vocab_size\": 4", config);
        Assert.Contains("\"eos_token_id\": 3", config);
        Assert.Contains("\"my_key\": 1", config);
        Assert.Contains("GPT2LMHeadModel", config);
    }

    [Fact]
    public void Rows_of_the_embedding_to_spare_are_mentioned()
    {
        _handbook.Write("config.json", Config.Replace("\"n_embd\"", "\"vocab_size\": 64, \"n_embd\""));
        Assert.Contains("vocabulary: 4 tokens, and 60 rows of the embedding to spare", Init("new").Output);
    }

    [Fact]
    public void The_seed_decides_the_weights()
    {
        Init("one", "--seed", "1");
        Init("again", "--seed", "1");
        Init("two", "--seed", "2");
        byte[] Weights(string folder) => File.ReadAllBytes(At($"{folder}/model.safetensors"));
        Assert.Equal(Weights("one"), Weights("again"));
        Assert.NotEqual(Weights("one"), Weights("two"));
    }

    [Fact]
    public void A_model_is_replaced_only_by_force()
    {
        Init("new");
        var outcome = Init("new");
        Assert.Equal(2, outcome.Code);
        Assert.Contains("new already holds a model\n  fix: choose another --output, or add --force to replace it", outcome.Error);
        Assert.Equal(0, Init("new", "--force").Code);
    }

    [Theory]
    [InlineData("""{"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": 3}""",
        "vocab_size is 3, but the tokenizer gives ids up to 3")]
    [InlineData("""{"model_type": "gpt2", "n_embd": 9, "n_layer": 2, "n_head": 2}""", "n_embd 9 is not divisible by n_head 2")]
    [InlineData("""{"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "bos_token_id": 77}""",
        "bos_token_id is 77, but vocab_size is 4")]
    [InlineData("""{"model_type": "rwkv"}""", "model_type \"rwkv\" is not supported")]
    [InlineData("""{"model_type": """, "not valid JSON")]
    public void A_config_that_cannot_work_starts_nothing(string config, string message)
    {
        _handbook.Write("config.json", config);
        var outcome = Init("new");
        Assert.Equal(2, outcome.Code);
        Assert.Equal("", outcome.Output);
        Assert.Contains(message, outcome.Error);
        Assert.False(Directory.Exists(At("new")));
    }

    public void Dispose() => _handbook.Dispose();

    private string At(string name) => Path.Combine(_handbook.Folder, name);

    private Outcome Init(string output, params string[] more) =>
        _handbook.Run(["init", "--config", "config.json", "--tokenizer", "tok", "--output", output, .. more]);
}
