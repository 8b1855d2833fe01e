using System.Text.Json;
using Handbook.Testing;

namespace Handbook.Data.Tests;

/// <summary>Golden cases of this folder, from <c>tests/golden/data</c>.</summary>
internal static class GoldenCases
{
    public static IEnumerable<JsonElement> Read(string file)
    {
        var path = Path.Combine(SharedFiles.Repository, "tests", "golden", "data", file);
        return JsonDocument.Parse(File.ReadAllText(path)).RootElement.GetProperty("cases").EnumerateArray();
    }

    public static int[] Ints(this JsonElement element, string name) =>
        [.. element.GetProperty(name).EnumerateArray().Select(value => value.GetInt32())];

    /// <summary>Σ i·p[i] mod 2^61 − 1, as the golden files hold it.</summary>
    public static long Checksum(int[] order)
    {
        Int128 sum = 0;
        for (var i = 0; i < order.Length; i++)
            sum += (Int128)(i + 1) * order[i];
        return (long)(sum % ((1L << 61) - 1));
    }
}
