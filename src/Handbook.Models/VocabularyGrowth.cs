using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Models;

/// <summary>Rows for new tokens below a model's tables: embedding, head, and the head's bias.</summary>
/// <remarks>
/// <code>
/// row ~ N( μ, ε·Σ )        μ, Σ: mean and covariance of the rows that are there, ε = 10⁻⁹
/// row = μ + √(ε/V) · Σ_i g_i·(e_i − μ),    g ~ N(0, 1): the same distribution, without the matrix Σ
/// bias = mean + ε·deviation·g
/// </code>
/// As transformers has it (<c>mean_resizing</c>): a new token begins as the average one, so that it takes about 1/V of the probability; the
/// tiny deviation keeps two of them apart. Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models". Every row has
/// its own stream of numbers: see <see cref="NormalNumbers"/>.
/// </remarks>
/// <param name="Rows">Rows of the tables afterwards.</param>
/// <param name="Seed">Seed of the new rows.</param>
internal sealed record VocabularyGrowth(int Rows, long Seed)
{
    private const double Epsilon = 1e-9;

    /// <summary>How many rows a vocabulary gets.</summary>
    /// <param name="ids">One more than the largest id.</param>
    /// <param name="rows">Rows that the tables have.</param>
    /// <param name="multiple">What the number of rows is made a multiple of; null for as many as are needed.</param>
    /// <returns>Null where the tables stay as they are: rows that are there already are never taken away.</returns>
    public static int? RowsFor(int ids, int rows, int? multiple)
    {
        var needed = Math.Max(ids, rows);
        if (multiple is { } m)
            needed = checked((needed + m - 1) / m * m);
        return needed == rows ? null : needed;
    }

    /// <summary>What a table looks like afterwards.</summary>
    public TensorInfo Grown(TensorInfo table) => table with { Shape = [Rows, .. table.Shape.Skip(1)] };

    /// <summary>The table with its new rows; the old ones stay as they are, bit by bit.</summary>
    /// <param name="table">One row a token; or one number a token, the head's bias.</param>
    /// <exception cref="InputException">It has more rows than it should get.</exception>
    public unsafe TensorData Grow(TensorData table)
    {
        var (old, isBias) = (table.Info.Shape[0], table.Info.Shape.Count == 1);
        if (old > Rows)
            throw new InputException($"tensor \"{table.Info.Name}\" has {old} rows, which is more than the {Rows} tokens",
                why: "rows are added, never taken away", fix: "check that config.json and the weights belong to the same model");
        var grown = Grown(table.Info);
        var buffer = new NativeBuffer(grown.ByteCount);
        var start = (byte*)buffer.DangerousGetHandle();
        Buffer.MemoryCopy((void*)table.Pointer, start, grown.ByteCount, table.Info.ByteCount);
        var width = isBias ? 1 : checked((int)(table.Info.Count / old));
        var rows = NewRows(table, width, checked((int)(Rows - old)), isBias);
        var size = table.Info.DType.Size;
        ElementConversion.Convert(MemoryMarshal.AsBytes(rows.AsSpan()), DType.Float32,
            new(start + table.Info.ByteCount, rows.Length * size), table.Info.DType);
        GC.KeepAlive(table.Owner);
        return new(grown, (nint)start, buffer);
    }

    private float[] NewRows(TensorData table, int width, int count, bool isBias)
    {
        var old = checked((int)table.Info.Shape[0]);
        var mean = new double[width];
        Each(table, width, (_, row) =>
        {
            for (var i = 0; i < width; i++)
                mean[i] += row[i];
        });
        for (var i = 0; i < width; i++)
            mean[i] /= old;
        // What each old row weighs in each new one.
        var draws = new float[count][];
        for (var k = 0; k < count; k++)
            new NormalNumbers(Seed, $"{table.Info.Name}.{old + k}").Fill(0, draws[k] = new float[old], 1);
        var scale = isBias ? Epsilon / Math.Sqrt(old) : Math.Sqrt(Epsilon / old);
        var sums = new double[count][];
        for (var k = 0; k < count; k++)
            sums[k] = new double[width];
        Each(table, width, (index, row) =>
        {
            for (var k = 0; k < count; k++)
                for (var (i, draw, sum) = (0, draws[k][index], sums[k]); i < width; i++)
                    sum[i] += draw * (row[i] - mean[i]);
        });
        var rows = new float[count * width];
        for (var k = 0; k < count; k++)
            for (var i = 0; i < width; i++)
                rows[k * width + i] = (float)(mean[i] + scale * sums[k][i]);
        return rows;
    }

    private static void Each(TensorData table, int width, Action<int, float[]> see)
    {
        var (row, bytes) = (new float[width], width * table.Info.DType.Size);
        for (var i = 0; i < table.Info.Shape[0]; i++)
        {
            ElementConversion.Convert(table.Slice((long)i * bytes, bytes), table.Info.DType, MemoryMarshal.AsBytes(row.AsSpan()),
                DType.Float32);
            see(i, row);
        }
        GC.KeepAlive(table.Owner);
    }
}
