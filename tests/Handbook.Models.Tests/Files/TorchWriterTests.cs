using System.IO.Compression;
using Handbook.Models.Files;
using Handbook.Testing;

namespace Handbook.Models.Tests.Files;

/// <summary>Files of <c>torch.save</c> that we write.</summary>
public sealed class TorchWriterTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("tiny_gpt2.safetensors")]
    [InlineData("tiny_llama.safetensors")]
    public void Tensors_come_back_with_their_bytes(string name)
    {
        using var before = SafetensorsFile.Open(SharedFiles.Need("models", "hf-architectures", name));
        var paths = WeightFilesWriter.Save(_folder.Path, [.. before.Names.Select(tensor => TensorToSave.From(before.Read(tensor)))],
            new() { Name = "pytorch_model", IsTorch = true });
        Assert.Equal([_folder["pytorch_model.bin"]], paths);
        using var after = WeightFiles.Open(_folder.Path);
        Assert.Equal(before.Names, after.Names);
        foreach (var tensor in before.Names)
            Assert.True(before.Read(tensor).Bytes.SequenceEqual(after.Read(tensor).Bytes), tensor);
    }

    [Fact] // what PyTorch's reader asks for: a folder of its own, stored entries, the order of bytes, a version
    public void The_zip_has_the_entries_of_torch_save()
    {
        WeightFilesWriter.Save(_folder.Path, [TensorToSave.From("a", [1, 2, 3], 3), TensorToSave.From("b.weight", [4], 1, 1)],
            new() { Name = "pytorch_model", IsTorch = true, MaxShardBytes = 12 });
        Assert.Equal(["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json"],
            Directory.GetFiles(_folder.Path).Select(Path.GetFileName).Order());
        using var zip = ZipFile.OpenRead(_folder["pytorch_model-00001-of-00002.bin"]);
        Assert.Equal(["pytorch_model/byteorder", "pytorch_model/data.pkl", "pytorch_model/data/0", "pytorch_model/version"],
            zip.Entries.Select(entry => entry.FullName).Order());
        Assert.All(zip.Entries, entry => Assert.Equal(entry.Length, entry.CompressedLength));
        using var files = WeightFiles.Open(_folder.Path);
        Assert.Equal(["a", "b.weight"], files.Names.Order());
    }
}
