using Handbook.Torch.Cuda;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The text of <c>rows.cu</c> on the CPU against the kernels of the CPU in float64.</summary>
public sealed unsafe class RowTests
{
    [Theory, InlineData(8), InlineData(13), InlineData(1032)]
    public void Embeddings_agree_with_the_plain_version(int width)
    {
        Embed<float>(width);
        Embed<BFloat16>(width);
        Embed<Half>(width);
    }

    private static void Embed<T>(int width) where T : unmanaged
    {
        const int vocabulary = 9, places = 6;
        int[] tokens = [3, 0, 8, 3, 3, 1, 0, 5], positions = [0, 1, 2, 3, 4, 5, 0, 1];
        double[] table = Some.Rounded<T>(Some.Normal(1, vocabulary * width)), learned = Some.Rounded<T>(Some.Normal(2, places * width)),
            dy = Some.Rounded<float>(Some.Normal(3, tokens.Length * width)), old = Some.Rounded<float>(Some.Normal(4, vocabulary * width));
        long[] order = [.. tokens.Select((id, i) => ((long)id << 32) | (uint)i).Order()];
        using Rows<double> plainTable = new(table), plainLearned = new(learned), y = new(tokens.Length * width), slope = new(dy),
            gradient = new(old);
        fixed (int* ids = tokens, at = positions)
        {
            EmbeddingKernel.Gather(plainTable.Pointer, ids, plainLearned.Pointer, at, y.Pointer, tokens.Length, width, vocabulary, places, 1.5);
            EmbeddingKernel.ScatterAdd(slope.Pointer, ids, gradient.Pointer, tokens.Length, width, vocabulary, 1.5, padding: 8);
        }
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<T> rows = new(table), more = new(learned);
            using Rows<float> output = new(tokens.Length * width), bare = new(tokens.Length * width), arriving = new(dy), sums = new(old);
            fixed (int* ids = tokens, at = positions)
            fixed (long* sorted = order)
            {
                Emulated.Run(CudaRows.EmbeddingForward(ids, at, rows.Pointer, more.Pointer, output.Pointer, tokens.Length, width, 1.5f));
                Emulated.Run(CudaRows.EmbeddingForward(ids, null, rows.Pointer, (T*)null, bare.Pointer, tokens.Length, width, 1));
                Emulated.Run(CudaRows.EmbeddingBackward(sorted, arriving.Pointer, sums.Pointer, tokens.Length, width, 1.5f, padding: 8));
            }
            return [output.ToArray(), bare.ToArray(), sums.ToArray()];
        });
        Some.Close(y.ToArray(), actual[0], 1e-6);
        Assert.Equal(tokens.SelectMany(id => table[(id * width)..((id + 1) * width)]), actual[1]);
        Some.Close(gradient.ToArray(), actual[2], 2e-6);
    }

    [Theory, InlineData(16), InlineData(7), InlineData(2064)]
    public void Rows_are_picked_and_put_back(int bytes)
    {
        int[] rows = [4, 0, 2];
        var x = Enumerable.Range(0, 5 * bytes).Select(i => (double)(i * 7 % 251)).ToArray();
        var actual = Emulated.Everywhere(() =>
        {
            byte[] source = [.. x.Select(v => (byte)v)], picked = new byte[rows.Length * bytes], spread = new byte[source.Length];
            fixed (byte* from = source, some = picked, back = spread)
            fixed (int* at = rows)
            {
                Emulated.Run(CudaRows.Select(from, at, some, rows.Length, bytes));
                Emulated.Run(CudaRows.Spread(some, at, back, rows.Length, bytes));
            }
            return [[.. picked.Select(v => (double)v)], [.. spread.Select(v => (double)v)]];
        });
        Assert.Equal(rows.SelectMany(row => x[(row * bytes)..((row + 1) * bytes)]), actual[0]);
        Assert.Equal(x.Select((v, i) => rows.Contains(i / bytes) ? v : 0), actual[1]);
    }

    [Theory, InlineData(8), InlineData(19), InlineData(1040)]
    public void Rows_of_experts_agree_with_the_plain_version(int width)
    {
        Experts<float>(width);
        Experts<BFloat16>(width);
        Experts<Half>(width);
    }

    private static void Experts<T>(int width) where T : unmanaged
    {
        const int tokens = 5, perToken = 2;
        var routing = new Routing([2, 0, 1, 2, 3, 1, 0, 3, 2, 1], perToken, 4);
        double[] sorted = Some.Rounded<T>(Some.Normal(1, tokens * perToken * width)), rows = Some.Rounded<T>(Some.Normal(2, tokens * width)),
            weights = Some.Rounded<float>(Some.Normal(3, tokens * perToken));
        using Rows<double> plainSorted = new(sorted), plainRows = new(rows), plainWeights = new(weights), gathered = new(tokens * width),
            scattered = new(sorted.Length), dots = new(tokens * perToken);
        fixed (int* row = routing.Row)
        {
            ExpertKernel.Places<double> Places(Rows<double> memory, int* at) => new()
            {
                Sorted = memory.Pointer,
                Row = at,
                Tokens = tokens,
                PerToken = perToken,
                Width = width,
            };
            ExpertKernel.Gather(Places(plainSorted, row), plainWeights.Pointer, gathered.Pointer);
            ExpertKernel.Scatter(Places(scattered, row), plainWeights.Pointer, plainRows.Pointer);
            ExpertKernel.Dots(Places(plainSorted, row), plainRows.Pointer, dots.Pointer);
        }
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<T> memory = new(sorted), each = new(rows), output = new(tokens * width), apart = new(sorted.Length),
                copied = new(sorted.Length);
            using Rows<float> factors = new(weights), products = new(tokens * perToken);
            fixed (int* row = routing.Row)
            {
                Emulated.Run(CudaRows.ExpertGather(memory.Pointer, row, factors.Pointer, output.Pointer, tokens, perToken, width));
                Emulated.Run(CudaRows.ExpertScatter(apart.Pointer, row, factors.Pointer, each.Pointer, tokens, perToken, width));
                Emulated.Run(CudaRows.ExpertScatter(copied.Pointer, row, null, each.Pointer, tokens, perToken, width));
                Emulated.Run(CudaRows.ExpertDots(memory.Pointer, row, each.Pointer, products.Pointer, tokens, perToken, width));
            }
            return [output.ToArray(), apart.ToArray(), copied.ToArray(), products.ToArray()];
        });
        Some.Close(gathered.ToArray(), actual[0], 2e-6, Some.Step<T>());
        Some.Close(scattered.ToArray(), actual[1], 1e-6, Some.Step<T>());
        var tokenOf = routing.Tokens();
        Assert.Equal(tokenOf.SelectMany(t => rows[(t * width)..((t + 1) * width)]), actual[2]);
        Some.Close(dots.ToArray(), actual[3], 1e-6 * width, 1e-5);
    }
}
