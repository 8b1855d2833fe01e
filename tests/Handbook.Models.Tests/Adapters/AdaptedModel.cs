using System.Runtime.InteropServices;
using System.Text.Json;
using Handbook.Models.Files;

namespace Handbook.Models.Tests.Adapters;

/// <summary>A model from a format that only tests know, as the family it belongs to: config and tensors under the published
/// names.</summary>
internal sealed record AdaptedModel(PublishedConfig Config, IReadOnlyList<TensorToSave> Tensors)
{
    /// <summary>Writes it as a folder that any loader opens.</summary>
    public ModelWeights Save(string folder, bool fused = false)
    {
        Config.Save(folder);
        WeightFilesWriter.Save(folder, Tensors);
        return ModelWeights.Open(folder, PublishedConfig.Load(folder), fused);
    }

    /// <summary>llama2.c's format: seven sizes, then every kind of weight for all layers together.</summary>
    /// <remarks>Its rotary pairs are neighbours (2i, 2i+1); the published layout has (i, i + E/2), so query and key rows move.</remarks>
    public static AdaptedModel Llama2C(string path)
    {
        var bytes = File.ReadAllBytes(path).AsSpan();
        var sizes = MemoryMarshal.Cast<byte, int>(bytes[..28]).ToArray();
        var floats = MemoryMarshal.Cast<byte, float>(bytes[28..]).ToArray();
        var (d, f, layers, heads, keyValueHeads, vocabulary, positions) = (sizes[0], sizes[1], sizes[2], sizes[3], sizes[4],
            Math.Abs(sizes[5]), sizes[6]);
        var (e, kv) = (d / heads, d / heads * keyValueHeads);
        var at = 0;
        float[] Take(int count) => floats[at..(at += count)];
        var tensors = new List<TensorToSave> { TensorToSave.From("model.embed_tokens.weight", Take(vocabulary * d), vocabulary, d) };
        void Each(string name, int rows, int columns, int turned = 0)
        {
            for (var i = 0; i < layers; i++)
            {
                var values = Take(rows * columns);
                tensors.Add(columns == 1 ? TensorToSave.From($"model.layers.{i}.{name}.weight", values, rows)
                    : TensorToSave.From($"model.layers.{i}.{name}.weight", turned > 0 ? Halves(values, turned, columns) : values, rows,
                        columns));
            }
        }
        Each("input_layernorm", d, 1);
        Each("self_attn.q_proj", d, d, e);
        Each("self_attn.k_proj", kv, d, e);
        Each("self_attn.v_proj", kv, d);
        Each("self_attn.o_proj", d, d);
        Each("post_attention_layernorm", d, 1);
        Each("mlp.gate_proj", f, d);
        Each("mlp.down_proj", d, f);
        Each("mlp.up_proj", f, d);
        tensors.Add(TensorToSave.From("model.norm.weight", Take(d), d));
        return new(Some.Config(("model_type", "llama"), ("hidden_size", d), ("intermediate_size", f), ("num_hidden_layers", layers),
            ("num_attention_heads", heads),
            ("num_key_value_heads", keyValueHeads), ("vocab_size", vocabulary), ("max_position_embeddings", positions),
                ("rms_norm_eps", 1e-5), ("tie_word_embeddings", true)), tensors);
    }

    /// <summary>gpt-nano-sort: minGPT's names are GPT-2's, its linear weights [out, in].</summary>
    public static AdaptedModel GptJson(string path)
    {
        using var json = JsonDocument.Parse(File.ReadAllText(path));
        var config = json.RootElement.GetProperty("config");
        var tensors = new List<TensorToSave>();
        foreach (var tensor in json.RootElement.EnumerateObject().Where(p => p.Name != "config" && !p.Name.EndsWith(".attn.bias")))
        {
            var (values, shape) = Read(tensor.Value);
            tensors.Add(Conv1D(tensor.Name, values, shape));
        }
        return new(Some.Gpt2(config.GetProperty("vocab_size").GetInt32(), config.GetProperty("n_embd").GetInt32(),
            config.GetProperty("n_layer").GetInt32(),
            config.GetProperty("n_head").GetInt32(), config.GetProperty("block_size").GetInt32(), ("tie_word_embeddings", false)), tensors);
    }

    /// <summary>slm-4096: minGPT with names of its own in a torch.save file.</summary>
    public static AdaptedModel SlmCheckpoint(string path)
    {
        using var file = TorchFile.Open(path);
        var tensors = new List<TensorToSave>();
        foreach (var name in file.Names.Where(n => !n.EndsWith(".attn.mask") && n != "head.weight"))
        {
            var data = file.Read(name);
            var published = name.Replace("tok_emb", "transformer.wte").Replace("pos_emb", "transformer.wpe")
                .Replace("blocks.", "transformer.h.");
            published = published.StartsWith("ln_f") ? "transformer." + published : published;
            tensors.Add(Conv1D(published, MemoryMarshal.Cast<byte, float>(data.Bytes).ToArray(), [.. data.Info.Shape]));
        }
        var embedding = file.Info("tok_emb.weight").Shape;
        return new(Some.Gpt2((int)embedding[0], (int)embedding[1], layers: 4, heads: 4, (int)file.Info("pos_emb.weight").Shape[0],
            ("activation_function", "gelu")), tensors);
    }

    /// <summary>Characters to ids, as the slm checkpoint stores them.</summary>
    public static Dictionary<char, int> SlmCharacters(string path)
    {
        using var file = TorchFile.Open(path);
        return file.Values.Where(v => v.Key.StartsWith("stoi.")).ToDictionary(v => v.Key["stoi.".Length..][0], v => (int)(long)v.Value!);
    }

    /// <summary>A tensor as gpt-nano-sort writes it: shape, and float32 in base64.</summary>
    public static (float[] Values, long[] Shape) Read(JsonElement tensor) =>
        (MemoryMarshal.Cast<byte, float>(tensor.GetProperty("data").GetBytesFromBase64()).ToArray(),
            [.. tensor.GetProperty("shape").EnumerateArray().Select(s => s.GetInt64())]);

    private static TensorToSave Conv1D(string name, float[] values, long[] shape)
    {
        if (shape.Length != 2 || !name.Contains(".c_"))
            return TensorToSave.From(name, values, shape);
        var (rows, columns) = ((int)shape[0], (int)shape[1]);
        var turned = new float[values.Length];
        for (var r = 0; r < rows; r++)
            for (var c = 0; c < columns; c++)
                turned[c * rows + r] = values[r * columns + c];
        return TensorToSave.From(name, turned, columns, rows);
    }

    /// <summary>Rows of each head from (pair, half) to (half, pair).</summary>
    private static float[] Halves(float[] values, int headSize, int columns)
    {
        var moved = new float[values.Length];
        for (var row = 0; row < values.Length / columns; row++)
        {
            var (head, pair, half) = (row / headSize, row % headSize / 2, row % 2);
            values.AsSpan(row * columns, columns).CopyTo(moved.AsSpan((head * headSize + half * headSize / 2 + pair) * columns));
        }
        return moved;
    }
}
