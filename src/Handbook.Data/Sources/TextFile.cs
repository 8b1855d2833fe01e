using System.Text;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>A file to read rows from.</summary>
/// <param name="Path">Where it is.</param>
/// <param name="Name">What the user calls it.</param>
/// <param name="Encoding">The name of its encoding; null means UTF-8.</param>
/// <param name="Opened">Is told the file once it is open, so that progress can be seen.</param>
internal sealed record FileInput(string Path, string Name, string? Encoding = null, Action<FileStream>? Opened = null)
{
    /// <summary>Its lines, unpacked, as UTF-8.</summary>
    public LineReader Lines() => new(TextFile.OpenUtf8(this), Name);
}

/// <summary>Opens text files: unpacks gz and zst, translates the encoding that the recipe names, and takes nothing
/// but UTF-8 for UTF-8.</summary>
internal static class TextFile
{
    private static readonly string[] _compressions = [".gz", ".zst", ".zstd"];

    /// <summary>The name without the ending of its compression.</summary>
    public static string WithoutCompression(string path)
    {
        foreach (var ending in _compressions)
            if (path.EndsWith(ending, StringComparison.OrdinalIgnoreCase))
                return path[..^ending.Length];
        return path;
    }

    /// <summary>The file's bytes, unpacked: how they are compressed, its first bytes say.</summary>
    public static Stream OpenBytes(FileInput input)
    {
        var name = input.Name;
        var file = OpenRaw(input.Path, name);
        input.Opened?.Invoke(file);
        Span<byte> magic = stackalloc byte[4];
        var read = file.ReadAtLeast(magic, 4, throwOnEndOfStream: false);
        file.Position = 0;
        if (read >= 2 && magic[0] == 0x1f && magic[1] == 0x8b)
            return new GzipFile(file, name);
        if (read == 4 && magic.SequenceEqual((ReadOnlySpan<byte>)[0x28, 0xb5, 0x2f, 0xfd]))
            return new ZstdSharp.DecompressionStream(file, checkEndOfStream: true, leaveOpen: false);
        if (WithoutCompression(name) is var plain && plain != name && read > 0)
        {
            file.Dispose();
            throw new InputException($"{name}: is no {(name.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? "gzip" : "zstd")} file, "
                + $"as its name says: it begins with the bytes {Convert.ToHexString(magic[..read])}",
                fix: $"download it again; if it is not compressed, rename it: mv {name} {plain}");
        }
        return file;
    }

    /// <summary>The file's text as UTF-8 bytes.</summary>
    public static Stream OpenUtf8(FileInput input)
    {
        var bytes = OpenBytes(input);
        return input.Encoding is null ? bytes
            : Encoding.CreateTranscodingStream(bytes, FindEncoding(input.Encoding), new UTF8Encoding(false));
    }

    /// <summary>Throws what to do about bytes that are not UTF-8.</summary>
    public static InputException NotUtf8(string name, long line, ReadOnlySpan<byte> text)
    {
        var place = FirstInvalid(text);
        return new InputException($"{name}:{line}: is not UTF-8: byte 0x{text[place]:X2} at column {place + 1}, after "
            + $"\"{Tail(text[..place])}\"",
            why: "guessing the encoding would put wrong letters into the training text",
            fix: EncodingFix(name));

        static string Tail(ReadOnlySpan<byte> before) =>
            Encoding.UTF8.GetString(before[Math.Max(0, before.Length - 20)..]).TrimStart('\uFFFD');
    }

    /// <summary>What to do about a file with bytes that are not UTF-8.</summary>
    public static string EncodingFix(string name) =>
        "name the encoding, e.g. dataset_encoding: iso-8859-1 (or windows-1252), or convert the "
        + $"file: iconv -f ISO-8859-1 -t UTF-8 {name}";

    /// <summary>The place of the first byte that is no UTF-8.</summary>
    public static int FirstInvalid(ReadOnlySpan<byte> text)
    {
        var place = 0;
        while (place < text.Length && Rune.DecodeFromUtf8(text[place..], out _, out var length) == System.Buffers.OperationStatus.Done)
            place += length;
        return Math.Min(place, text.Length - 1);
    }

    internal static FileStream OpenRaw(string path, string name)
    {
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1 << 16, FileOptions.SequentialScan);
        }
        catch (UnauthorizedAccessException failure)
        {
            throw new InputException($"{name}: may not be read", fix: $"ls -l {path}; chmod u+r {path}", inner: failure);
        }
        catch (IOException failure)
        {
            throw new InputException($"{name}: cannot be opened ({failure.Message})", inner: failure);
        }
    }

    private static Encoding FindEncoding(string name)
    {
        Encoding.RegisterProvider(CodePagesEncodingProvider.Instance);
        try
        {
            return Encoding.GetEncoding(name, EncoderFallback.ExceptionFallback, DecoderFallback.ExceptionFallback);
        }
        catch (ArgumentException failure)
        {
            throw new InputException($"dataset_encoding \"{name}\" is not known",
                fix: "use utf-8, utf-16, iso-8859-1, windows-1252 or another IANA name", inner: failure);
        }
    }
}
