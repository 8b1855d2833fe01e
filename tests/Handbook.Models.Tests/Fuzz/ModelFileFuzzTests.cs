using System.Text;
using Handbook.Models.Files;
using Handbook.Models.Gguf;
using Handbook.Models.Tests.Files;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Models.Tests.Fuzz;

/// <summary>Damaged weights and configs: tensors inside the file, or a message.</summary>
[Trait("kind", "fuzz")]
public sealed class ModelFileFuzzTests : IDisposable
{
    private static readonly float[] s_numbers = [1, 2, 3, 4, 5, 6, 7, 8];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_damaged_safetensors_file_gives_its_tensors_or_a_message()
    {
        WeightFilesWriter.Save(_folder["seed"],
            [TensorToSave.From("a", s_numbers, 2, 4), TensorToSave.From("b.weight", s_numbers[..6], 3, 2)]);
        FuzzRun.Over("model.safetensors", [File.ReadAllBytes(_folder["seed", "model.safetensors"])],
            ["\"dtype\":\"BF16\"", "\"shape\":[", "\"data_offsets\":[0,8]", "9223372036854775807", "-1", "__metadata__", "\"F8_E4M3\""], 500,
            bytes => HostileSafetensorsTests.OpensOrIsRefused(_folder, "model.safetensors", bytes));
    }

    [Fact]
    public void A_damaged_gguf_file_gives_its_model_or_a_message()
    {
        var config = Some.Llama(("vocab_size", 40));
        var folder = _folder["seed"];
        WeightFilesWriter.Save(folder, NewModel.Tensors(config, 1, DType.Float32));
        config.Save(folder);
        File.WriteAllBytes(Path.Combine(folder, "tokenizer.json"), Tests.Gguf.LlamaCppAgreementTests.ByteTokenizer(40));
        GgufExport.Write(folder, GgufPrecision.All[0], _folder["seed.gguf"]);
        var bytes = File.ReadAllBytes(_folder["seed.gguf"]);
        FuzzRun.Over("model.gguf", [bytes[..^1000], bytes], ["GGUF", "llama.block_count", "token_embd.weight", "tokenizer.ggml.tokens",
            "general.alignment", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", "blk.0.attn_q.weight", "gpt2", "llama.attention.head_count"], 150, damaged =>
        {
            File.WriteAllBytes(_folder["model.gguf"], damaged);
            using var file = GgufFile.Open(_folder["model.gguf"]);
            Assert.NotNull(GgufConfig.Read(file).Config);
            Assert.NotNull(GgufTokenizer.Read(file));
            foreach (var tensor in file.Tensors)
                file.Read(tensor, 0, new float[tensor.Count]);
        });
    }

    [Fact]
    public void A_damaged_index_of_weights_gives_its_tensors_or_a_message()
    {
        WeightFilesWriter.Save(_folder.Path, [TensorToSave.From("a", s_numbers, 8), TensorToSave.From("b", s_numbers, 8)],
            new() { MaxShardBytes = 40 });
        FuzzRun.Over("model.safetensors.index.json", [File.ReadAllBytes(_folder["model.safetensors.index.json"])],
            ["weight_map", "model-00001-of-00002.safetensors", "../", "\"a\":", "null"], 200,
            bytes => HostileSafetensorsTests.OpensOrIsRefused(_folder, "model.safetensors.index.json", bytes));
    }

    [Fact]
    public void A_damaged_pickle_gives_its_tensors_or_a_message()
    {
        var storage = System.Runtime.InteropServices.MemoryMarshal.AsBytes(s_numbers.AsSpan()).ToArray();
        byte[][] pickles = [PickleBytes.OneTensor(8, 2, [2, 2], [2, 1]), PickleBytes.OneTensor(8, 0, [4], [2], "HalfStorage")];
        // The pickle itself is damaged inside a zip that is whole; and whole files are.
        FuzzRun.Over("data.pkl", pickles, ["torch._utils", "_rebuild_tensor_v2", "c__builtin__\neval\n", "\x8a\x08", "(lp0\n", "}q\0", "R", "b"], 500,
            bytes => HostileSafetensorsTests.OpensOrIsRefused(_folder, "x.bin", PickleBytes.Zip(bytes, storage)));
        FuzzRun.Over("pytorch_model.bin", [.. pickles.Select(pickle => PickleBytes.Zip(pickle, storage)),
            PickleBytes.Legacy(new PickleBytes().Code("}").Text("w").Tensor("0", 8, 6, [2], [1], legacy: true).Code("s").Done(), s_numbers)],
            ["PK\x03\x04", "PK\x01\x02", "m/data/0", "data.pkl"], 500,
            bytes => HostileSafetensorsTests.OpensOrIsRefused(_folder, "x.bin", bytes));
    }

    [Fact]
    public void A_damaged_config_gives_a_network_or_a_message()
    {
        string[] seeds = [.. new[] { Some.Gpt2(), Some.Llama(), Some.Mixtral(), Some.Llama(("model_type", "gemma")),
            Some.Llama(("model_type", "qwen2"), ("rope_theta", 10000.0), ("tie_word_embeddings", true)),
            Some.Llama(("rope_scaling", System.Text.Json.Nodes.JsonNode.Parse(
                """{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}"""))) }
            .Select(config => config.Json.ToJsonString()), .. Families.Family.All.Select(family => OfFamily(family.ModelType)),
            $$"""{"model_type": "llava", "text_config": {{OfFamily("gemma3_text")}}, "vision_config": {"hidden_size": 3} }""",
            OfFamily("qwen2_vl")];
        FuzzRun.Over("config.json", [.. seeds.Select(Encoding.UTF8.GetBytes)], ["llama", "gpt2", "gpt_neox", "mixtral", "phi3", "olmo2",
            "rope_type", "yarn", "longrope", "dynamic", "head_dim", "sliding_window", "bfloat16", "eos_token_id", "vocab_size", "hidden_act",
            "num_attention_heads", "layer_types", "sliding_attention", "full_attention", "moe_intermediate_size", "n_group", "mlp_only_layers",
            "no_rope_layers", "text_config", "mrope", "q_lora_rank", "alibi", "new_decoder_architecture"], 1000, bytes =>
        {
            var config = PublishedConfig.Parse(bytes, "config.json");
            Assert.NotEmpty(config.Family.Parameters(config.Decoder, fused: true));
        });

        // Keys that some family reads, in the names of all of them.
        static string OfFamily(string type) => $$"""
            {"model_type": "{{type}}", "vocab_size": 40, "hidden_size": 32, "n_embd": 32, "intermediate_size": 24, "num_hidden_layers": 4,
            "n_layer": 4, "num_attention_heads": 4, "n_head": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "n_positions": 64,
            "rotary_dim": 4, "sliding_window": 8, "use_sliding_window": true, "max_window_layers": 1, "num_experts_per_tok": 2,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"], "tie_word_embeddings": false,
            "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 10000.0} }
            """;
    }

    [Fact]
    public void A_damaged_generation_config_gives_its_values_or_a_message()
    {
        var decoder = Some.Llama().Decoder;
        FuzzRun.Over("generation_config.json",
            ["""{"eos_token_id": [1, 2], "temperature": 0.7, "top_k": 50, "do_sample": true, "max_new_tokens": 64}"""u8.ToArray()],
            ["eos_token_id", "null", "-1", "1e99"], 300, bytes =>
        {
            File.WriteAllBytes(_folder["generation_config.json"], bytes);
            Assert.NotNull(GenerationDefaults.Load(_folder.Path, decoder).EosIds);
        });
    }
}
