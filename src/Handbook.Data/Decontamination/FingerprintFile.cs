using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Data.Decontamination;

/// <summary>A reference set as a file of fingerprints, from which its texts cannot be read: JSON lines, of which the first says how the
/// others were made.</summary>
internal static class FingerprintFile
{
    /// <summary>By which such files are told from data.</summary>
    public const string Ending = ".fingerprints";

    private const int Version = 1;

    private static readonly JsonSerializerOptions s_plain = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static void Write(string path, ReferenceSet set) => WholeFile.WriteBytes(path, Encoding.UTF8.GetBytes(ToText(set)));

    /// <summary>The file as text.</summary>
    public static string ToText(ReferenceSet set)
    {
        var text = new StringBuilder();
        text.Append(JsonSerializer.Serialize(new { fingerprints = Version, set = set.Name, ngrams = set.Words }, s_plain)).Append('\n');
        foreach (var reference in set.Texts)
            text.Append(JsonSerializer.Serialize(new
            {
                name = reference.Name,
                length = reference.Length,
                start = reference.Start.ToString("x16", CultureInfo.InvariantCulture),
                digest = reference.Digest,
                grams = Convert.ToBase64String(MemoryMarshal.AsBytes<ulong>(reference.Grams)),
            }, s_plain)).Append('\n');
        return text.ToString();
    }

    /// <param name="name">What the user calls the file.</param>
    /// <exception cref="InputException">It is no such file, or a damaged one.</exception>
    public static ReferenceSet Read(Stream stream, string name)
    {
        using var reader = new StreamReader(stream, new UTF8Encoding(false, throwOnInvalidBytes: true));
        var line = 1;
        try
        {
            using var head = JsonDocument.Parse(reader.ReadLine() ?? "");
            if (head.RootElement.GetProperty("fingerprints").GetInt32() is not Version and var other)
                throw new InputException($"{name}: has version {other}, and this program reads version {Version}",
                    fix: "make it again with `handbook data fingerprint`");
            var (set, words) = (head.RootElement.GetProperty("set").GetString()!, head.RootElement.GetProperty("ngrams").GetInt32());
            var texts = new List<ReferenceText>();
            for (line++; reader.ReadLine() is { } entry; line++)
            {
                using var json = JsonDocument.Parse(entry);
                var root = json.RootElement;
                texts.Add(new(root.GetProperty("name").GetString()!, root.GetProperty("length").GetInt32(),
                    ulong.Parse(root.GetProperty("start").GetString()!, NumberStyles.HexNumber, CultureInfo.InvariantCulture),
                    root.GetProperty("digest").GetString()!,
                    MemoryMarshal.Cast<byte, ulong>(root.GetProperty("grams").GetBytesFromBase64()).ToArray()));
            }
            return new(set, texts, words, TooShort: 0);
        }
        catch (Exception damage) when (damage is JsonException or FormatException or KeyNotFoundException or InvalidOperationException
            or DecoderFallbackException or OverflowException)
        {
            throw new InputException($"{name}:{line} is no line of a file of fingerprints",
                "rows would be compared with a part of the set, and nobody would see it",
                "make it again with `handbook data fingerprint`", damage);
        }
    }
}
