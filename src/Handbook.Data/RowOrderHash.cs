using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Handbook.Data;

/// <summary>SHA-256 of the numbers of the rows of all steps, in their order, 4 bytes each, little-endian.</summary>
internal sealed class RowOrderHash : IDisposable
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    /// <summary>The hash of a whole plan, in hex.</summary>
    public static string Of(StepPlan plan)
    {
        using var hash = new RowOrderHash();
        for (var step = 0; step < plan.TotalSteps; step++)
            foreach (var batch in plan[step].MicroBatches)
                hash.Add(batch);
        return hash.Finish();
    }

    /// <summary>Adds the rows that come next.</summary>
    public void Add(ReadOnlySpan<int> rows)
    {
        if (!BitConverter.IsLittleEndian)
            throw new PlatformNotSupportedException("row numbers are hashed as they lie in memory, which is little-endian");
        _hash.AppendData(MemoryMarshal.AsBytes(rows));
    }

    /// <summary>The hash of all rows so far, in hex; begins anew.</summary>
    public string Finish() => Convert.ToHexStringLower(_hash.GetHashAndReset());

    public void Dispose() => _hash.Dispose();
}
