using Handbook.Models.Files;

namespace Handbook.Cli.Tests;

/// <summary><c>handbook convert</c> as users type it.</summary>
public sealed class ConvertCommandTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    public ConvertCommandTests() => SmallModel.Make(_handbook);

    [Fact]
    public void A_model_becomes_one_file_with_its_tokenizer()
    {
        var outcome = SmallModel.Succeed(_handbook.Run("convert", "model", "--to", "q8_0", "--out", "small.gguf"));
        // By hand: 2 layers of 7 matrices, the embedding and the head; 2 · 2 + 1 norms.
        Assert.Contains("small.gguf: q8_0, ", outcome.Output);
        Assert.Contains("read back and compared", outcome.Output);
        using var file = GgufFile.Open(Path.Combine(_handbook.Folder, "small.gguf"));
        Assert.Equal("llama", file.Metadata.Text("general.architecture"));
        Assert.Equal(5, file.Tensors.Count(tensor => tensor.Blocks.Name == "f32"));
        Assert.NotEmpty(file.Metadata.Texts("tokenizer.ggml.tokens")!);
        var back = SmallModel.Succeed(_handbook.Run("convert", "small.gguf", "--to", "safetensors", "--out", "back"));
        Assert.Contains("back: a llama model, float32, read back and compared", back.Output);
    }

    [Fact, Trait("speed", "slow")]
    public void Wrong_uses_are_told_before_anything_is_written()
    {
        Fails("--imatrix-text goes with formats of fewer than 8 bits", "convert", "model", "--to", "q8_0", "--out", "small.gguf",
            "--imatrix-text", "nowhere.txt");
        Fails("--imatrix-text nowhere.txt cannot be read", "convert", "model", "--to", "q4_0", "--out", "small.gguf",
            "--imatrix-text", "nowhere.txt");
        Fails("--imatrix-text model is a folder", "convert", "model", "--to", "q4_0", "--out", "small.gguf", "--imatrix-text", "model");
        File.WriteAllBytes(Path.Combine(_handbook.Folder, "bytes"), [0x61, 0xc3, 0x28]);
        Fails("--imatrix-text bytes is no text in UTF-8", "convert", "model", "--to", "q4_0", "--out", "small.gguf", "--imatrix-text", "bytes");
        Fails("the weights of model are safetensors already", "convert", "model", "--to", "safetensors", "--out", "back");
        Fails("--dtype does not go with --to f16", "convert", "model", "--to", "f16", "--dtype", "float16", "--out", "small.gguf");
        Fails("--to onnx: no ONNX file is written", "convert", "model", "--to", "onnx", "--out", "small.onnx");
        Fails("did you mean q8_0?", "convert", "model", "--to", "q80", "--out", "small.gguf");
        Fails("--out small does not end in .gguf", "convert", "model", "--to", "f16", "--out", "small");
        Fails("--out model is a folder", "convert", "model", "--to", "f16", "--out", "model");
        Fails("there is no model folder nowhere", "convert", "nowhere", "--to", "f16", "--out", "small.gguf");
        Assert.Empty(Directory.GetFiles(_handbook.Folder, "*small*"));
        SmallModel.Succeed(_handbook.Run("convert", "model", "--to", "f32", "--out", "small.gguf"));
        Fails("small.gguf is a GGUF file, and --to is f16", "convert", "small.gguf", "--to", "f16", "--out", "smaller.gguf");
        _handbook.Write("recipe.yaml", "model_name_or_path: small.gguf\ndataset_name: rows.jsonl\noutput_dir: run\nmax_steps: 1\n");
        _handbook.Write("rows.jsonl", """{"text": "one two three"}""");
        Fails("small.gguf is a GGUF file, which holds a model for llama.cpp", "cpt", "recipe.yaml");
        Fails("handbook convert small.gguf --to safetensors --out small", "generate", "small.gguf", "one");
        Fails("--out model is not empty", "convert", "small.gguf", "--to", "safetensors", "--out", "model");
        _handbook.Write("broken.gguf", "GGUF, but cut off");
        Fails("broken.gguf: it does not begin as a GGUF file does", "convert", "broken.gguf", "--to", "safetensors", "--out", "back");
        Assert.False(Directory.Exists(Path.Combine(_handbook.Folder, "back")));
        Fails("--force does not go with --to bin", "convert", "model", "--to", "bin", "--out", "back", "--force");
        Fails("--out small.gguf is there already", "convert", "model", "--to", "f32", "--out", "small.gguf");
        SmallModel.Succeed(_handbook.Run("convert", "model", "--to", "f16", "--out", "small.gguf", "--force"));
    }

    [Fact, Trait("speed", "slow")]
    public void Weights_go_into_torch_files_and_back()
    {
        SmallModel.Succeed(_handbook.Run("convert", "model", "--to", "bin", "--out", "torch"));
        Assert.True(File.Exists(Path.Combine(_handbook.Folder, "torch", "pytorch_model.bin")));
        var there = SmallModel.Succeed(_handbook.Run("generate", "torch", "one two", "--max-new-tokens", "5")).Output;
        Assert.Equal(SmallModel.Succeed(_handbook.Run("generate", "model", "one two", "--max-new-tokens", "5")).Output, there);
        SmallModel.Succeed(_handbook.Run("convert", "torch", "--to", "safetensors", "--out", "back"));
        Assert.Equal(File.ReadAllBytes(Path.Combine(_handbook.Folder, "model", "model.safetensors")),
            File.ReadAllBytes(Path.Combine(_handbook.Folder, "back", "model.safetensors")));
    }

    [Fact, Trait("speed", "slow")]
    public void A_text_changes_what_few_bits_say()
    {
        _handbook.Write("held.txt", string.Join('\n', Enumerable.Range(0, 40).Select(i => $"one two three {i}, the moon and the sun")));
        SmallModel.Succeed(_handbook.Run("convert", "model", "--to", "q4_k_m", "--out", "plain.gguf"));
        SmallModel.Succeed(_handbook.Run("convert", "model", "--to", "q4_k_m", "--out", "weighed.gguf", "--imatrix-text", "held.txt"));
        using var plain = GgufFile.Open(Path.Combine(_handbook.Folder, "plain.gguf"));
        using var weighed = GgufFile.Open(Path.Combine(_handbook.Folder, "weighed.gguf"));
        var down = plain.Find("blk.0.ffn_down.weight")!;
        Assert.False(plain.Slice(down, 0, (int)down.ByteCount).SequenceEqual(weighed.Slice(weighed.Find(down.Name)!, 0, (int)down.ByteCount)));
        Assert.True(weighed.Metadata.Whole("quantize.imatrix.entries_count") > 0);
    }

    private void Fails(string message, params string[] words)
    {
        var outcome = _handbook.Run(words);
        Assert.Equal(2, outcome.Code);
        Assert.Contains(message, outcome.Error);
    }

    public void Dispose() => _handbook.Dispose();
}
