using System.Runtime.InteropServices;
using Handbook.Data;
using Handbook.Models.Files;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Tests.Methods.Preferences;

/// <summary>A collated batch of the reference with the logits it computed, from which log-probabilities are taken in float64.</summary>
internal sealed class RecordedBatch : IDisposable
{
    private readonly SafetensorsFile _file;

    public RecordedBatch(string path) => _file = SafetensorsFile.Open(path);

    public void Dispose() => _file.Dispose();

    public bool Has(string name) => _file.Names.Contains(name);

    public long[][] Integers(string name)
    {
        var data = _file.Read(name);
        return [.. MemoryMarshal.Cast<byte, long>(data.Bytes).ToArray().Chunk((int)data.Info.Shape[^1])];
    }

    public double[] Numbers(string name) =>
        Array.ConvertAll(MemoryMarshal.Cast<byte, float>(_file.Read(name).Bytes).ToArray(), x => (double)x);

    /// <summary>The answer of a row, from the logits of the policy and the reference.</summary>
    /// <param name="tensor">The policy's logits.</param>
    /// <param name="reference">The reference's; null where there is none.</param>
    /// <param name="row">Which row of the logits.</param>
    /// <param name="ids">The row's tokens.</param>
    /// <param name="place">Where the answer stands.</param>
    /// <param name="role">Which answer it is.</param>
    /// <param name="otherLength">Length of the pair's other answer.</param>
    /// <param name="objective">Reduces the reference's scores.</param>
    public AnswerScore Answer(string tensor, string? reference, int row, long[] ids, (int Start, int End) place, SegmentRole role,
        int otherLength, IPreferenceObjective objective) => new()
        {
            LogProbs = LogProbs(tensor, row, ids, place.Start, place.End),
            LogSquares = objective.NeedsSquares ? Enumerable.Range(place.Start - 1, place.End - place.Start + 1)
            .Select(i => LogSquare(Logits(tensor, row, i))).ToArray() : default,
            Reference = reference is null || !objective.NeedsReference ? 0
            : objective.Reduce(role, LogProbs(reference, row, ids, place.Start, place.End), place.Start, otherLength, reference: true),
        };

    /// <summary>log p of the tokens from one place to another.</summary>
    public double[] LogProbs(string tensor, int row, long[] ids, int start, int end)
    {
        var all = new double[end - start];
        for (var i = start; i < end; i++)
        {
            var logits = Logits(tensor, row, i - 1);
            all[i - start] = logits[(int)ids[i]] - LogSumExp(logits, 1);
        }
        return all;
    }

    /// <summary>First place with 1 and the place after the last.</summary>
    public static (int Start, int End) Span(long[] mask) => (Array.IndexOf(mask, 1), Array.LastIndexOf(mask, 1) + 1);

    private ReadOnlySpan<float> Logits(string tensor, int row, int place)
    {
        var data = _file.Read(tensor);
        int length = (int)data.Info.Shape[1], vocabulary = (int)data.Info.Shape[2];
        return MemoryMarshal.Cast<byte, float>(data.Bytes).Slice((row * length + place) * vocabulary, vocabulary);
    }

    private static double LogSquare(ReadOnlySpan<float> logits) => LogSumExp(logits, 2) - 2 * LogSumExp(logits, 1);

    private static double LogSumExp(ReadOnlySpan<float> logits, double scale)
    {
        double max = double.NegativeInfinity, sum = 0;
        foreach (var x in logits)
            max = Math.Max(max, scale * x);
        foreach (var x in logits)
            sum += Math.Exp(scale * x - max);
        return max + Math.Log(sum);
    }
}
