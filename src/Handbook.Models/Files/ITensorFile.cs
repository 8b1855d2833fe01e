using Handbook.Base;

namespace Handbook.Models.Files;

/// <summary>A file of named tensors; two formats have it, safetensors and PyTorch's own.</summary>
internal interface ITensorFile : IDisposable
{
    string Path { get; }

    /// <summary>Names in the file's own order.</summary>
    IReadOnlyList<string> Names { get; }

    /// <summary>Free texts about the file; empty where the format has none.</summary>
    IReadOnlyDictionary<string, string> Metadata { get; }

    /// <exception cref="InputException">The file has no such tensor, or its element type is not one we compute with.</exception>
    TensorInfo Info(string name);

    /// <summary>The elements, without a copy where the format allows it.</summary>
    TensorData Read(string name);

    /// <summary>Lets the system take back the pages that were read so far; reading again brings them back.</summary>
    void ForgetPages()
    {
    }
}
