using Handbook.Torch.Native;

namespace Handbook.Torch;

/// <summary>Whether operators record a graph on this thread.</summary>
public readonly ref struct GradMode : IDisposable
{
    private readonly int _before;

    private GradMode(int before) => _before = before;

    /// <summary>Whether this thread records now.</summary>
    public static bool IsEnabled
    {
        get
        {
            TorchRuntime.Load();
            return Shim.GradMode() != 0;
        }
    }

    /// <summary>No graph is recorded until the scope ends.</summary>
    public static GradMode Disabled() => Switch(0);

    /// <summary>A graph is recorded until the scope ends, also inside a scope without.</summary>
    public static GradMode Enabled() => Switch(1);

    private static GradMode Switch(int value)
    {
        TorchRuntime.Load();
        var before = Shim.GradMode();
        Shim.SetGradMode(value);
        return new GradMode(before);
    }

    /// <summary>Ends the scope: this thread records again, or not, as it did before.</summary>
    public void Dispose() => Shim.SetGradMode(_before);
}
