namespace Handbook.Torch;

/// <summary>
/// While it lasts, a linear layer on this thread computes each row by itself: its bits do not depend on which other rows come along.
/// </summary>
/// <remarks>
/// The products of a library choose their order of additions by the number of rows, so that an answer would depend on its neighbours in a
/// batch.
/// Few rows are also faster this way: see <see cref="Kernels.RowLinearKernel"/>.
/// </remarks>
internal readonly ref struct RowExact : IDisposable
{
    [ThreadStatic] private static bool s_enabled;

    private readonly bool _before;

    private RowExact(bool before) => _before = before;

    public static bool IsEnabled => s_enabled;

    /// <summary>Row by row until the scope ends; without gradients.</summary>
    public static RowExact Enabled()
    {
        var before = s_enabled;
        s_enabled = true;
        return new RowExact(before);
    }

    public void Dispose() => s_enabled = _before;
}
