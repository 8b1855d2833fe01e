using System.Diagnostics;
using System.IO.Compression;
using System.Text;
using System.Text.Json;
using Handbook.Text.Tokenizers;

namespace Handbook.Bench;

/// <summary>What <see cref="TokenizeBench"/> found; MB are 10^6 bytes of UTF-8.</summary>
internal sealed record TokenizeResult(double MegabytesPerSecond, long Tokens);

/// <summary>Encoding on one thread, ids only, the best of several passes.</summary>
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
        return new(bytes / best / 1e6, tokens);
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
