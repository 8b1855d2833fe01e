namespace Handbook.Torch;

/// <summary>What the processor can do that .NET does not tell.</summary>
public static class ProcessorFeatures
{
    /// <summary>Whether it multiplies bfloat16 itself (AVX512-BF16, AMX, or Arm's BF16).</summary>
    public static bool HasBFloat16 { get; } = Flags().Overlaps(["avx512_bf16", "amx_bf16", "bf16"]);

    private static HashSet<string> Flags()
    {
        try
        {
            foreach (var line in File.ReadLines("/proc/cpuinfo"))
                if (line.StartsWith("flags", StringComparison.Ordinal) || line.StartsWith("Features", StringComparison.Ordinal))
                    return [.. line[(line.IndexOf(':') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries)];
        }
        catch (IOException)
        {
            return [];      // not Linux: nothing is known
        }
        return [];
    }
}
