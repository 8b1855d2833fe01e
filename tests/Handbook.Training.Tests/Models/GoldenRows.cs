using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Torch;
using Handbook.Training.Methods;

namespace Handbook.Training.Tests.Models;

/// <summary>A padded or packed batch of a golden file as our flat stream, with the way back to its places.</summary>
internal sealed class GoldenRows
{
    private readonly List<(int Row, int Column)> _places = [];
    private readonly List<int> _segmentOf = [];
    private readonly long[]? _labels;
    private readonly int _columns;

    private GoldenRows(StreamLayout stream, long[]? labels, int columns) => (Stream, _labels, _columns) = (stream, labels, columns);

    public StreamLayout Stream { get; private set; }

    public static GoldenRows Read(SafetensorsFile file, string name)
    {
        var ids = file.Longs(name + ".input_ids");
        var shape = file.Info(name + ".input_ids").Shape;
        var (rows, columns) = ((int)shape[0], (int)shape[1]);
        var mask = file.Names.Contains(name + ".attention_mask") ? file.Longs(name + ".attention_mask") : null;
        var positions = file.Names.Contains(name + ".position_ids") ? file.Longs(name + ".position_ids") : null;
        var labels = file.Names.Contains(name + ".labels") ? file.Longs(name + ".labels") : null;
        return Build(ids, mask, positions, labels, rows, columns);
    }

    public static GoldenRows Build(long[] ids, long[]? mask, long[]? positions, long[]? labels, int rows, int columns)
    {
        var sequences = new List<int[]>();
        var places = new List<(int, int)>();
        var segmentOf = new List<int>();
        for (var r = 0; r < rows; r++)
        {
            var current = new List<int>();
            for (var c = 0; c < columns; c++)
            {
                var at = r * columns + c;
                if (mask is not null && mask[at] == 0)
                    continue;
                if (positions is not null && positions[at] == 0 && current.Count > 0)
                {
                    sequences.Add([.. current]);
                    current.Clear();
                }
                current.Add((int)ids[at]);
                places.Add((r, c));
                segmentOf.Add(sequences.Count);
            }
            if (current.Count > 0)
                sequences.Add([.. current]);
        }
        var result = new GoldenRows(StreamLayout.Of(sequences), labels, columns);
        result._places.AddRange(places);
        result._segmentOf.AddRange(segmentOf);
        return result;
    }

    /// <summary>The sequences as rows of a method, in one bin; what has a label carries loss.</summary>
    public LossGroup Group(ITrainingMethod method)
    {
        var rows = new TokenRowList([.. Enumerable.Range(0, _segmentOf.Max() + 1).Select(segment =>
        {
            int[] places = [.. Enumerable.Range(0, _places.Count).Where(i => _segmentOf[i] == segment)];
            return TokenRow.Single(Array.ConvertAll(places, i => Stream.Tokens.Host[i]),
                Array.ConvertAll(places, i => (byte)(_labels![_places[i].Row * _columns + _places[i].Column] == -100 ? 0 : 1)));
        })]);
        return BatchLoader.Group(rows, [.. Enumerable.Range(0, rows.Count)], method, int.MaxValue);
    }

    /// <summary>Compares [rows, columns (or its last ones), width] with our [N, width] where there is a token.</summary>
    public void Compare(float[] expected, TensorInfo info, float[] ours, int width, double absolute, string what)
    {
        Assert.Equal(width, info.Shape[2]);
        var kept = (int)info.Shape[1];
        var worst = 0.0;
        for (var i = 0; i < _places.Count; i++)
        {
            var column = _places[i].Column - (_columns - kept);
            if (column < 0)
                continue;
            for (var j = 0; j < width; j++)
                worst = Math.Max(worst, Math.Abs(expected[(_places[i].Row * kept + column) * width + j] - ours[i * width + j]));
        }
        Assert.True(worst <= absolute, $"{what}: differs by {worst:g3}, more than {absolute:g3}");
    }

    public static double GradientNorm(ModelParameters parameters)
    {
        var sum = 0.0;
        foreach (var bucket in parameters.Buckets)
            foreach (var (parameter, _) in bucket.Parameters)
                if (parameter.HasGradient)
                    sum += parameter.Gradient!.ToArray<double>().Sum(g => g * g);
        return Math.Sqrt(sum);
    }

    public static IEnumerable<(string Published, float[] Values)> PublishedGradients(Decoder model) => Published(model, p => p.Gradient);

    /// <summary>Tensors of our parameters, put back under their published names and in their published layout.</summary>
    public static IEnumerable<(string Published, float[] Values)> Published(Decoder model, Func<Parameter, Tensor?> read)
    {
        var tensors = new Dictionary<string, float[]>();
        foreach (var spec in model.Parameters.Specs)
        {
            if (read(model.Parameters[spec.Name])?.ToArray<float>() is not { } values)
                continue;
            var columns = spec.Count / spec.Shape[0];
            foreach (var part in spec.Parts)
            {
                if (!tensors.TryGetValue(part.Published, out var target))
                    tensors[part.Published] = target = new float[part.PublishedShape.Aggregate(1L, (a, b) => a * b)];
                var publishedColumns = part.Transposed ? part.MatrixShape[1] : columns;
                for (var r = 0L; r < part.Rows; r++)
                    for (var c = 0L; c < columns; c++)
                    {
                        var at = part.PublishedStart + r * part.Step;
                        target[part.Offset + (part.Transposed ? c * publishedColumns + at : at * columns + c)] =
                            values[(part.Start + r) * columns + c];
                    }
            }
        }
        return tensors.Select(t => (t.Key, t.Value));
    }

    /// <summary>L2 norm of the difference over the L2 norm of the expectation. What is below a thousandth is rounding: a bias of all keys
    /// has no gradient where nothing turns them.</summary>
    public static double Distance(float[] ours, float[] expected)
    {
        Assert.Equal(expected.Length, ours.Length);
        double difference = 0, norm = 0;
        for (var i = 0; i < ours.Length; i++)
        {
            difference += Math.Pow(ours[i] - (double)expected[i], 2);
            norm += Math.Pow(expected[i], 2);
        }
        return Math.Sqrt(difference) / Math.Max(Math.Sqrt(norm), 1e-3);
    }
}

internal static class SafetensorsTestReading
{
    public static float[] Singles(this SafetensorsFile file, string name)
    {
        Assert.Equal(DType.Float32, file.Info(name).DType);
        return System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(file.Read(name).Bytes).ToArray();
    }

    public static long[] Longs(this SafetensorsFile file, string name)
    {
        Assert.Equal(DType.Int64, file.Info(name).DType);
        return System.Runtime.InteropServices.MemoryMarshal.Cast<byte, long>(file.Read(name).Bytes).ToArray();
    }
}
