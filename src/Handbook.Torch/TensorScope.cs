namespace Handbook.Torch;

/// <summary>Frees every tensor made since it was entered, at the closing brace, except those that are kept for the caller.</summary>
/// <remarks>
/// Native memory is invisible to the garbage collector, so tensors are never left to it. Scopes nest; a kept tensor belongs to the scope
/// around.
/// </remarks>
public readonly ref struct TensorScope : IDisposable
{
    [ThreadStatic] private static List<Tensor>? _made;
    [ThreadStatic] private static int _depth;

    private readonly int _start;

    private TensorScope(int start) => _start = start;

    /// <summary>Begins a scope on this thread; write <c>using</c>, so that the closing brace ends it.</summary>
    public static TensorScope Enter()
    {
        _made ??= new List<Tensor>(256);
        _depth++;
        return new TensorScope(_made.Count);
    }

    /// <summary>Lets a tensor outlive this scope: it then belongs to the scope around, or to the caller where there is none.</summary>
    public Tensor Keep(Tensor tensor)
    {
        if (_start > (_made?.Count ?? 0))
            throw new InvalidOperationException("this scope has ended");
        tensor.Kept = true;
        return tensor;
    }

    /// <summary>Takes a tensor out of all scopes: the caller disposes it. For parameters, optimiser state and caches.</summary>
    public static Tensor Detach(Tensor tensor)
    {
        tensor.Free = true;
        return tensor;
    }

    internal static void Register(Tensor tensor)
    {
        if (_depth > 0)
            _made!.Add(tensor);
    }

    /// <summary>Ends the scope: frees its tensors, and hands the kept ones on.</summary>
    public void Dispose()
    {
        var made = _made!;
        var write = _start;
        _depth--;
        for (var i = _start; i < made.Count; i++)
        {
            var tensor = made[i];
            if (tensor.Free)
                continue;
            if (!tensor.Kept)
            {
                tensor.Dispose();
                continue;
            }
            tensor.Kept = false;
            if (_depth > 0)
                made[write++] = tensor;
        }
        made.RemoveRange(write, made.Count - write);
    }
}
