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
    }

    [Fact, Trait("speed", "slow")]
    public void Wrong_uses_are_told_before_anything_is_written()
    {
        Fails("--to onnx: no ONNX file is written", "convert", "model", "--to", "onnx", "--out", "small.onnx");
        Fails("did you mean q8_0?", "convert", "model", "--to", "q80", "--out", "small.gguf");
        Fails("--out small does not end in .gguf", "convert", "model", "--to", "f16", "--out", "small");
        Fails("--out model is a folder", "convert", "model", "--to", "f16", "--out", "model");
        Fails("there is no model folder nowhere", "convert", "nowhere", "--to", "f16", "--out", "small.gguf");
        Assert.Empty(Directory.GetFiles(_handbook.Folder, "*small*"));
        SmallModel.Succeed(_handbook.Run("convert", "model", "--to", "f32", "--out", "small.gguf"));
        Fails("--out small.gguf is there already", "convert", "model", "--to", "f32", "--out", "small.gguf");
        SmallModel.Succeed(_handbook.Run("convert", "model", "--to", "f16", "--out", "small.gguf", "--force"));
    }

    private void Fails(string message, params string[] words)
    {
        var outcome = _handbook.Run(words);
        Assert.Equal(2, outcome.Code);
        Assert.Contains(message, outcome.Error);
    }

    public void Dispose() => _handbook.Dispose();
}
