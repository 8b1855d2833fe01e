using Handbook.Base;

namespace Handbook.Models.Files;

/// <summary>A safetensors file, mapped into memory; tensors are read without a copy.</summary>
internal sealed unsafe class SafetensorsFile : ITensorFile
{
    private readonly MappedFile _file;
    private readonly SafetensorsHeader _header;
    private readonly Dictionary<string, SafetensorsEntry> _entries;

    private SafetensorsFile(MappedFile file, SafetensorsHeader header)
    {
        (_file, _header) = (file, header);
        _entries = header.Entries.ToDictionary(e => e.Name);
        Names = [.. header.Entries.Select(e => e.Name)];
    }

    /// <exception cref="InputException">The file is missing, truncated, malformed or contradicts itself; the
    /// message names the tensor.</exception>
    public static SafetensorsFile Open(string path) => MappedFile.Open(path, file => new SafetensorsFile(file, SafetensorsHeader.Read(file)));

    public string Path => _file.Path;

    public IReadOnlyList<string> Names { get; }

    public IReadOnlyDictionary<string, string> Metadata => _header.Metadata;

    public TensorInfo Info(string name)
    {
        var entry = Find(name);
        return new(name, SafetensorsHeader.ToDType(entry.TypeName) ?? throw new InputException(
            $"{Path}: tensor \"{name}\" has element type {entry.TypeName}, which cannot be computed with here",
            fix: "save the model in float32, bfloat16 or float16"), entry.Shape);
    }

    public TensorData Read(string name)
    {
        var info = Info(name);
        return new(info, (nint)(_file.Pointer + _header.DataStart + Find(name).Begin), _file.Handle!);
    }

    public void ForgetPages() => _file.ForgetPages();

    public void Dispose() => _file.Dispose();

    private SafetensorsEntry Find(string name) => _entries.TryGetValue(name, out var entry)
        ? entry
        : throw new InputException($"{Path}: has no tensor \"{name}\"");
}
