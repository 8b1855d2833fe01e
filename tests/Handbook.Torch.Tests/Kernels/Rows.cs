using System.Runtime.InteropServices;
using Handbook.Testing;


namespace Handbook.Torch.Tests.Kernels;

/// <summary>Native memory for a kernel, with marked bytes on both sides that <see cref="Dispose"/> checks.</summary>
internal sealed unsafe class Rows<T> : IDisposable where T : unmanaged
{
    private const int Guard = 64;
    private readonly byte* _memory;
    private readonly long _bytes;

    public Rows(int count)
    {
        Count = count;
        _bytes = (long)count * sizeof(T);
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)(_bytes + 2 * Guard), 64);
        new Span<byte>(_memory, (int)_bytes + 2 * Guard).Fill(0xA5);
        Span.Clear();
    }

    public Rows(IReadOnlyList<double> values) : this(values.Count)
    {
        for (var i = 0; i < Count; i++)
            this[i] = values[i];
    }

    public int Count { get; }

    public T* Pointer => (T*)(_memory + Guard);

    public Span<T> Span => new(Pointer, Count);

    public double this[int i]
    {
        get => typeof(T) == typeof(Half) ? (double)((Half*)Pointer)[i] : Torch.Kernels.Lanes.Get(Pointer, i);
        set
        {
            if (typeof(T) == typeof(Half))
                ((Half*)Pointer)[i] = (Half)(float)value;
            else
                Torch.Kernels.Lanes.Set(Pointer, i, value);
        }
    }

    public double[] ToArray() => [.. Enumerable.Range(0, Count).Select(i => this[i])];

    public void Dispose()
    {
        var before = new Span<byte>(_memory, Guard).ContainsAnyExcept((byte)0xA5);
        var after = new Span<byte>(_memory + Guard + _bytes, Guard).ContainsAnyExcept((byte)0xA5);
        NativeMemory.AlignedFree(_memory);
        Assert.False(before || after, "the kernel wrote outside its buffer");
    }
}

/// <summary>Seeded values and comparisons for kernel tests.</summary>
internal static class Some
{
    public static double[] Normal(int seed, int count, double scale = 1)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count)
            .Select(_ => scale * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()))];
    }

    /// <summary>What is left of the values after rounding to T.</summary>
    public static double[] Rounded<T>(double[] values) where T : unmanaged
    {
        using var rows = new Rows<T>(values);
        return rows.ToArray();
    }

    /// <summary>Relative rounding step of a storage type.</summary>
    public static double Step<T>() where T : unmanaged => typeof(T) == typeof(BFloat16) ? 1.0 / 256 : typeof(T) == typeof(Half) ? 1.0 / 2048
        : typeof(T) == typeof(float) ? 1.2e-7 : 2.3e-16;

    public static void Close(double[] expected, double[] actual, double absolute, double relative = 0)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
            Lazily.True(Math.Abs(expected[i] - actual[i]) <= absolute + relative * Math.Abs(expected[i]),
                $"[{i}]: expected {expected[i]:R}, was {actual[i]:R}");
    }

    /// <summary>Compares a gradient with central differences of a float64 function.</summary>
    public static void Gradient(Func<double[], double> function, double[] at, double[] gradient, double tolerance = 1e-6)
    {
        Assert.Equal(at.Length, gradient.Length);
        for (var i = 0; i < at.Length; i++)
        {
            const double h = 1e-5;
            double[] high = [.. at], low = [.. at];
            high[i] += h;
            low[i] -= h;
            var slope = (function(high) - function(low)) / (2 * h);
            Assert.True(Math.Abs(slope - gradient[i]) <= tolerance * (1 + Math.Abs(slope)),
                $"[{i}]: difference quotient {slope:R}, gradient {gradient[i]:R}");
        }
    }

    public static double Dot(double[] a, double[] b) => a.Zip(b, (x, y) => x * y).Sum();
}
