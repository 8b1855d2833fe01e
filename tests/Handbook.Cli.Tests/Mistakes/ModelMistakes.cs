using System.Buffers.Binary;
using System.Text;

namespace Handbook.Cli.Tests.Mistakes;

/// <summary>Model folders: not there, with a wrong config, with wrong weights.</summary>
internal static class ModelMistakes
{
    public static IReadOnlyList<Mistake> All { get; } =
    [
        new("a model that is nowhere", run => run.Set("model_name_or_path", "model_name_or_path: someone/model-7b"), Good),
        new("a folder without a model", run =>
        {
            run.MakeFolder("empty");
            run.Set("model_name_or_path", "model_name_or_path: empty");
        }, Good),
        new("a file in the place of a model", run => run.Set("model_name_or_path", "model_name_or_path: model/model.safetensors"), Good),
        Missing("config.json"),
        Missing("model.safetensors"),
        Config("a config that is not JSON", "\"hidden_size\": 16", "\"hidden_size\": 16 16"),
        Config("a family that is not known", "\"llama\"", "\"mamba\""),
        Config("a family that is misspelt", "\"llama\"", "\"lama\""),
        Config("a config without a family", "\"model_type\": \"llama\",", ""),
        Config("a config without a width", "\"hidden_size\": 16,", ""),
        Config("a width that is negative", "\"hidden_size\": 16", "\"hidden_size\": -16"),
        Config("a width that is a word", "\"hidden_size\": 16", "\"hidden_size\": \"wide\""),
        Config("heads that do not divide the width", "\"num_attention_heads\": 2", "\"num_attention_heads\": 3"),
        Config("heads of keys that do not divide the heads", "\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3"),
        Config("a rope that is not known", "\"hidden_size\": 16",
            "\"rope_scaling\": {\"rope_type\": \"spiral\", \"factor\": 2.0}, \"hidden_size\": 16"),
        Config("an activation that is not known", "\"hidden_size\": 16", "\"hidden_act\": \"sine\", \"hidden_size\": 16"),
        Config("weights of another width", "\"intermediate_size\": 32", "\"intermediate_size\": 48") with { IsQuick = true },
        Config("weights of fewer layers", "\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2"),
        Config("an embedding of fewer rows than tokens", "\"vocab_size\": 300", "\"vocab_size\": 200"),
        Weights("weights that end early", "cut to 5,000 bytes", bytes => bytes[..5000]),
        Weights("weights of seven bytes", "cut to 7 bytes", bytes => bytes[..7]),
        Weights("weights that are a pointer", "the pointer of a large file",
            _ => "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"u8.ToArray()),
        Weights("a header that claims more than the file", "a header of 2^63 bytes", bytes =>
        {
            BinaryPrimitives.WriteInt64LittleEndian(bytes, long.MaxValue);
            return bytes;
        }),
        Weights("a tensor of another name", "model.norm.weight is called model.norm.wEight", bytes => Renamed(bytes, "model.norm.weight",
            "model.norm.wEight")),
        Weights("elements of an unknown type", "F32 is called F33", bytes => Renamed(bytes, "\"F32\"", "\"F33\"")),
        new("an index that names an absent shard", run =>
        {
            run.Delete("model/model.safetensors");
            run.Write("model/model.safetensors.index.json",
                """{"metadata": {}, "weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}""");
        }, Copied),
        new("an index that is not JSON", run =>
        {
            run.Delete("model/model.safetensors");
            run.Write("model/model.safetensors.index.json", "{\"weight_map\": ");
        }, Copied),
        new("a checkpoint of PyTorch that is none", run =>
        {
            run.Delete("model/model.safetensors");
            run.Write("model/pytorch_model.bin", "cos\nsystem\n(S'echo'\ntR.");
        }, Copied),
        new("a reward model for a language model's training", run => Scored(run), Copied),
    ];

    private static void Good(MistakeFolder run) => run.Set("model_name_or_path", "model_name_or_path: model");

    /// <summary>Another copy of the model, as if downloaded again.</summary>
    private static void Copied(MistakeFolder run)
    {
        using var whole = new MistakeFolder("sft");
        run.Delete("model");
        run.Bring(whole, "model");
    }

    private static void Scored(MistakeFolder run)
    {
        run.Write("pairs.jsonl", "{\"prompt\": \"number?\", \"chosen\": \" it is\", \"rejected\": \" the answer\"}\n");
        run.Succeed("reward", "r.yaml", "--dataset_name=pairs.jsonl", "--max_steps=1", "--save_strategy=no", "--output_dir=judge");
        run.Delete("model");
        run.Copy("judge", "model");
    }

    private static Mistake Missing(string file) => new($"a model without {file}", run => run.Delete($"model/{file}"), Copied);

    private static Mistake Config(string title, string old, string @new) => new(title, run => run.Replace("model/config.json", old, @new),
        run =>
        {
            if (@new.Length == 0)
                Copied(run);
            else
                run.Replace("model/config.json", @new, old);
        });

    private static Mistake Weights(string title, string what, Func<byte[], byte[]> change) =>
        new(title, run => run.Bytes("model/model.safetensors", what, change), Copied);

    private static byte[] Renamed(byte[] bytes, string old, string @new)
    {
        var length = (int)BinaryPrimitives.ReadInt64LittleEndian(bytes);
        var header = Encoding.UTF8.GetString(bytes, 8, length);
        Assert.Contains(old, header);
        Assert.Equal(length, Encoding.UTF8.GetBytes(header.Replace(old, @new, StringComparison.Ordinal), bytes.AsSpan(8)));
        return bytes;
    }
}
