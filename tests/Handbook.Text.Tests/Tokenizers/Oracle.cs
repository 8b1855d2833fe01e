using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Handbook.Testing;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>The Rust library that the Python classes wrap, reading the same tokenizer.json: it says which ids are right.</summary>
internal sealed class Oracle : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly global::Tokenizers.DotNet.Tokenizer _tokenizer;

    /// <param name="json">A tokenizer.json. Its truncation and padding are switched off: they are the caller's business here.</param>
    public Oracle(byte[] json)
    {
        SkipWhereAbsent();
        var root = JsonNode.Parse(json)!.AsObject();
        if (root["truncation"] is not null || root["padding"] is not null)
        {
            root.Remove("truncation");
            root.Remove("padding");
            json = System.Text.Encoding.UTF8.GetBytes(root.ToJsonString());
        }
        File.WriteAllBytes(_folder["tokenizer.json"], json);
        _tokenizer = new(_folder["tokenizer.json"]);
    }

    /// <summary>Ids with special tokens.</summary>
    public int[] Encode(string text) => Array.ConvertAll(_tokenizer.Encode(text), id => (int)id);

    /// <summary>Text without special tokens.</summary>
    public string Decode(int[] ids) => _tokenizer.Decode(Array.ConvertAll(ids, id => (uint)id));

    /// <summary>The tokenizer.json of a folder of the shared tokenizers, uncompressed.</summary>
    public static byte[] Json(string name)
    {
        var folder = SharedFiles.Need("tokenizers", name);
        var plain = Path.Combine(folder, "tokenizer.json");
        if (File.Exists(plain))
            return File.ReadAllBytes(plain);
        using var packed = new GZipStream(File.OpenRead(plain + ".gz"), CompressionMode.Decompress);
        using var bytes = new MemoryStream();
        packed.CopyTo(bytes);
        return bytes.ToArray();
    }

    public void Dispose()
    {
        _tokenizer.Dispose();
        _folder.Dispose();
    }

    private static void SkipWhereAbsent() =>
        Assert.SkipUnless(OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64,
            "the oracle's native half is restored for Linux on x64 alone");
}
