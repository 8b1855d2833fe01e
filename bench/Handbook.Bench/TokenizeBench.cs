using System.Diagnostics;
using System.IO.Compression;
using System.Text;
using System.Text.Json;
using Handbook.Text.Tokenizers;

namespace Handbook.Bench;

/// <summary>What <see cref="TokenizeBench"/> found; MB are 10^6 bytes of UTF-8.</summary>
/// <param name="MegabytesPerSecond">Encoding, without special tokens.</param>
/// <param name="Tokens">Tokens of the whole corpus.</param>
/// <param name="DecodedPerSecond">Decoding these tokens, in MB of the text that comes out.</param>
/// <param name="LoadMilliseconds">Opening the tokenizer, compiled code and file in memory; the best of several.</param>
internal sealed record TokenizeResult(double MegabytesPerSecond, long Tokens, double DecodedPerSecond, double LoadMilliseconds);

/// <summary>Encoding and decoding on one thread, ids only, the best of several passes.</summary>
internal static class TokenizeBench
{
    public static TokenizeResult Measure(string tokenizerPath, string corpusPath)
    {
        var tokenizer = Tokenizer.Load(tokenizerPath);
        var texts = Texts(corpusPath);
        var bytes = texts.Sum(t => (long)System.Text.Encoding.UTF8.GetByteCount(t));
        var (best, tokens) = (double.MaxValue, 0L);
        for (var pass = 0; pass < 5; pass++)
        {
            tokens = 0;
            var start = Stopwatch.GetTimestamp();
            foreach (var text in texts)
                tokens += tokenizer.Encode(text, addSpecialTokens: false).Length;
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        var ids = texts.Select(text => tokenizer.Encode(text, addSpecialTokens: false)).ToArray();
        var (decoded, characters) = (double.MaxValue, 0L);
        for (var pass = 0; pass < 5; pass++)
        {
            characters = 0;
            var start = Stopwatch.GetTimestamp();
            foreach (var each in ids)
                characters += tokenizer.Decode(each).Length;
            decoded = Math.Min(decoded, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        var written = ids.Sum(each => (long)System.Text.Encoding.UTF8.GetByteCount(tokenizer.Decode(each)));
        return new(bytes / best / 1e6, tokens, written / decoded / 1e6, characters == 0 ? 0 : Load(tokenizer));
    }

    private static double Load(Tokenizer tokenizer)
    {
        // From plain files, as the peer does: the shared ones are packed.
        var path = Directory.CreateTempSubdirectory("tokenizer-").FullName;
        tokenizer.Save(path);
        var best = double.MaxValue;
        for (var pass = 0; pass < 5; pass++)
        {
            var start = Stopwatch.GetTimestamp();
            GC.KeepAlive(Tokenizer.Load(path));
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalMilliseconds);
        }
        Directory.Delete(path, recursive: true);
        return best;
    }

    /// <summary>One JSON string a line, gzipped.</summary>
    private static string[] Texts(string path)
    {
        using var reader = new StreamReader(new GZipStream(File.OpenRead(path), CompressionMode.Decompress), System.Text.Encoding.UTF8);
        var texts = new List<string>();
        while (reader.ReadLine() is { } line)
            if (line.Length > 0)
                texts.Add(JsonSerializer.Deserialize<string>(line)!);
        return [.. texts];
    }
}
