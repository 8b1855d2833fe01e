using Handbook.Torch.Native;

namespace Handbook.Torch;

/// <summary>
/// Numbers that the host and a device read: token ids, positions, rows to select. Copied to where they are asked for, once, and read there
/// by every layer.
/// </summary>
/// <remarks>They may come from either side. Nobody changes them: a copy would not notice.</remarks>
/// <typeparam name="T">An element type of <see cref="DType"/>.</typeparam>
internal sealed class Mirrored<T> where T : unmanaged
{
    private readonly Lock _gate = new();
    private readonly List<(Device Device, NativeReference Copy)> _copies = [];
    private T[]? _host;

    /// <summary>Numbers of the host.</summary>
    public Mirrored(T[] host)
    {
        ArgumentNullException.ThrowIfNull(host);
        (_host, Count) = (host, host.Length);
    }

    /// <summary>Numbers that a device computed; the host has them when it asks.</summary>
    /// <param name="device">[count], of the element type of <typeparamref name="T"/>.</param>
    public Mirrored(Tensor device)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (device.Dims != 1 || device.DType != Tensor.DTypeOf<T>())
            throw new ArgumentException($"{device.Describe()} is not a list of {Tensor.DTypeOf<T>()}", nameof(device));
        Count = checked((int)device.Count);
        _copies.Add((device.Device, new NativeReference(device)));
    }

    /// <summary>How many there are.</summary>
    public int Count { get; }

    /// <summary>Whether the host has them, so that <see cref="Host"/> waits for no device.</summary>
    public bool IsOnHost => _host is not null;

    /// <summary>The numbers; waits for the device where only it has them.</summary>
    public T[] Host
    {
        get
        {
            lock (_gate)
            {
                if (_host is not null)
                    return _host;
                using var tensor = _copies[0].Copy.Open();
                return _host = tensor.ToArray<T>();
            }
        }
    }

    /// <summary>The numbers on a device; [count]. The tensor is the caller's, its memory is shared.</summary>
    public Tensor On(Device device)
    {
        lock (_gate)
        {
            foreach (var (place, copy) in _copies)
                if (place == device)
                    return copy.Open();
        }
        using var scope = TensorScope.Enter();
        // the driver takes what it sends from memory of its own: nobody waits, and ours may go
        var made = Tensor.From(Host).ToNonBlocking(device);
        lock (_gate)
            _copies.Add((device, new NativeReference(made)));
        return scope.Keep(made);
    }

    public static implicit operator Mirrored<T>(T[] host) => new(host);
}
