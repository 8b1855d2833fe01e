using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

public sealed unsafe class EmbeddingKernelTests
{
    private static double[] Gather<T, TOut>(double[] table, int[] ids, double[]? positionTable, int width, double scale) where T
        : unmanaged where TOut : unmanaged
    {
        using Rows<T> rows = new(table), places = new(positionTable ?? [0]);
        using Rows<int> id = new(ids.Length), position = new(ids.Length);
        using var output = new Rows<TOut>(ids.Length * width);
        ids.CopyTo(id.Span);
        for (var i = 0; i < ids.Length; i++)
            position.Span[i] = i;
        EmbeddingKernel.Gather(rows.Pointer, id.Pointer, positionTable is null ? null : places.Pointer, position.Pointer, output.Pointer,
            ids.Length, width, table.Length / width, ids.Length, scale);
        return output.ToArray();
    }

    private static double[] Scatter<T, TReal>(double[] gradient, int[] ids, int vocabulary, int width, double scale = 1,
        int padding = -1) where T : unmanaged where TReal : unmanaged
    {
        using var rows = new Rows<T>(gradient);
        using var id = new Rows<int>(ids.Length);
        using var table = new Rows<TReal>(vocabulary * width);
        ids.CopyTo(id.Span);
        EmbeddingKernel.ScatterAdd(rows.Pointer, id.Pointer, table.Pointer, ids.Length, width, vocabulary, scale, padding);
        return table.ToArray();
    }

    private static int[] Ids(int seed, int count, int vocabulary)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(2) == 0 ? 0 : random.Next(vocabulary))];      // one token very often
    }

    [Theory, InlineData(1, 1, 1), InlineData(5, 3, 7), InlineData(1000, 50, 33), InlineData(300, 3, 16)]
    public void Rows_come_out_by_id_and_go_back_in_sums(int count, int vocabulary, int width)
    {
        var ids = Ids(count, count, vocabulary);
        double[] table = Some.Rounded<BFloat16>(Some.Normal(1, vocabulary * width)),
            places = Some.Rounded<BFloat16>(Some.Normal(2, count * width));
        var expected = new double[count * width];
        var sums = new double[vocabulary * width];
        var gradient = Some.Rounded<BFloat16>(Some.Normal(3, count * width));
        for (var i = 0; i < count * width; i++)
        {
            expected[i] = 1.5 * table[ids[i / width] * width + i % width] + places[i];
            sums[ids[i / width] * width + i % width] += 1.5 * gradient[i];
        }
        Some.Close(expected, Gather<double, double>(table, ids, places, width, 1.5), 1e-12);
        Some.Close(expected, Gather<float, float>(table, ids, places, width, 1.5), 1e-6);
        Some.Close(expected, Gather<BFloat16, float>(table, ids, places, width, 1.5), 1e-6);
        Some.Close(expected, Gather<float, BFloat16>(table, ids, places, width, 1.5), 1e-6, Some.Step<BFloat16>());
        Some.Close(sums, Scatter<double, double>(gradient, ids, vocabulary, width, 1.5), 1e-10);
        Some.Close(sums, Scatter<float, float>(gradient, ids, vocabulary, width, 1.5), 1e-6 * count);
        Some.Close(sums, Scatter<BFloat16, float>(gradient, ids, vocabulary, width, 1.5), 1e-6 * count);
    }

    [Fact]
    public void The_row_of_the_padding_token_gets_nothing()
    {
        var ids = Ids(7, 500, 30);
        var gradient = Some.Normal(3, 500 * 20);
        var all = Scatter<float, float>(gradient, ids, 30, 20);

        var others = Scatter<float, float>(gradient, ids, 30, 20, padding: 3);

        Assert.All(others[60..80], value => Assert.Equal(0, value));
        Assert.Equal([.. all[..60], .. all[80..]], [.. others[..60], .. others[80..]]);
        Assert.Contains(all[60..80], value => value != 0);
    }

    [Fact]
    public void The_bits_do_not_depend_on_the_number_of_threads()
    {
        var ids = Ids(7, 5000, 30);
        var gradient = Some.Normal(3, 5000 * 20);
        Assert.Equal(Threads.One(() => Scatter<float, float>(gradient, ids, 30, 20)), Scatter<float, float>(gradient, ids, 30, 20));
    }

    [Fact]
    public void An_id_outside_the_table_is_refused_with_its_place()
    {
        Assert.StartsWith("token 4 at place 1 is outside the table of 3 rows",
            Assert.Throws<ArgumentException>(() => Gather<float, float>(new double[6], [0, 4], null, 2, 1)).Message,
            StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Scatter<float, float>(new double[4], [0, -1], 3, 2));
    }
}
