using Handbook.Torch.Native;

namespace Handbook.Torch;

/// <summary>libtorch's default CPU generator (mt19937), the one that <c>torch.manual_seed</c> sets.</summary>
public static unsafe class RandomState
{
    public static void Seed(ulong seed)
    {
        TorchRuntime.Load();
        Shim.Check(Shim.ManualSeed(seed));
    }

    /// <summary>The generator's state as bytes, for a checkpoint.</summary>
    public static byte[] Save()
    {
        TorchRuntime.Load();
        nint result;
        Shim.Check(Shim.RandomState(&result));
        using var state = Tensor.Own(result);
        return state.AsSpan<byte>().ToArray();
    }

    /// <summary>Continues exactly where <see cref="Save"/> was called.</summary>
    public static void Restore(ReadOnlySpan<byte> state)
    {
        using var tensor = Tensor.From(state);
        Shim.Check(Shim.SetRandomState(tensor.Handle));
    }
}
