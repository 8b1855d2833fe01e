using System.Diagnostics;

namespace Handbook.Text.Tokenizers;

/// <summary>How fast a tokenizer encodes on one thread.</summary>
/// <param name="MegabytesPerSecond">10^6 bytes of UTF-8 a second; the best of the repetitions.</param>
/// <param name="MegabytesPerCpuSecond">The same by the processor time of the whole process, which other work on the
/// machine does not change.</param>
/// <param name="Tokens">Number of tokens of all texts.</param>
/// <param name="Bytes">Size of all texts in UTF-8.</param>
internal sealed record TokenizerSpeed(double MegabytesPerSecond, double MegabytesPerCpuSecond, long Tokens, long Bytes)
{
    /// <summary>Encodes all texts without special tokens, once to warm up and then again and again.</summary>
    public static TokenizerSpeed Measure(Tokenizer tokenizer, IReadOnlyList<string> texts, int repetitions = 3)
    {
        var bytes = texts.Sum(text => (long)System.Text.Encoding.UTF8.GetByteCount(text));
        long tokens = 0;
        double best = double.MaxValue, bestCpu = double.MaxValue;
        for (var i = 0; i <= repetitions; i++)
        {
            tokens = 0;
            var clock = Stopwatch.StartNew();
            var cpu = Environment.CpuUsage.TotalTime;
            foreach (var text in texts)
                tokens += tokenizer.Encode(text, addSpecialTokens: false).Length;
            if (i == 0)
                continue;
            best = Math.Min(best, clock.Elapsed.TotalSeconds);
            bestCpu = Math.Min(bestCpu, (Environment.CpuUsage.TotalTime - cpu).TotalSeconds);
        }
        return new(bytes / best / 1e6, bytes / bestCpu / 1e6, tokens, bytes);
    }
}
