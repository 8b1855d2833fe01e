using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

/// <summary>Runs the kernels over zeros.</summary>
internal static unsafe class AttentionAllocation
{
    /// <summary>Bytes that a forward and backward allocate on this thread, the second time.</summary>
    public static long OfSecondRun()
    {
        var table = SegmentTable.Create([0, 70], [70, 30], [-1, 0]);
        var shape = AttentionCase.Sized(4, 2, 16);
        Both(table, shape);
        var before = GC.GetAllocatedBytesForCurrentThread();
        Both(table, shape);
        return GC.GetAllocatedBytesForCurrentThread() - before;
    }

    public static void Forward(SegmentTable table, AttentionShape shape)
    {
        var numbers = stackalloc float[table.Tokens * shape.Heads * shape.HeadSize];
        var rows = new TokenRows<float>(numbers, shape.Heads * shape.HeadSize);
        AttentionKernel.Forward(table, shape,
            new AttentionArguments<float> { Query = rows, Key = rows, Value = rows, Output = rows, LogSumExp = null });
    }

    private static void Both(SegmentTable table, AttentionShape shape)
    {
        var row = shape.Heads * shape.HeadSize;
        var numbers = stackalloc float[5 * table.Tokens * row];
        var sums = stackalloc float[table.Tokens * shape.Heads];
        TokenRows<float> input = new(numbers, row), output = new(numbers + table.Tokens * row, row);
        var arguments = new AttentionArguments<float> { Query = input, Key = input, Value = input, Output = output, LogSumExp = sums };
        AttentionKernel.Forward(table, shape, arguments);
        AttentionKernel.Backward(table, shape, arguments, new AttentionGradients<float>
        {
            Output = input,
            Query = new(numbers + 2 * table.Tokens * row, row),
            Key = new(numbers + 3 * table.Tokens * row, row),
            Value = new(numbers + 4 * table.Tokens * row, row),
        });
    }
}
