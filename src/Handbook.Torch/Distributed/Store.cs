using System.Net;
using System.Net.Sockets;
using System.Text;
using Handbook.Torch.Native;

namespace Handbook.Torch.Distributed;

/// <summary>A small table of keys and bytes that one process serves and all of a job reach over TCP; libtorch's <c>TCPStore</c>. Processes
/// find each other through it.</summary>
/// <remarks>One connection does one thing at a time: what must not wait for another opens its own. A process that holds the table and
/// does not answer holds up every caller.</remarks>
public sealed unsafe class Store : IDisposable
{
    private nint _handle;

    private Store(nint handle, string host, int port, TimeSpan timeout)
    {
        _handle = handle;
        (Host, Port, Timeout) = (host, port, timeout);
    }

    /// <summary>Address that was connected to.</summary>
    public string Host { get; }

    /// <summary>Port that the table is served on.</summary>
    public int Port { get; }

    /// <summary>How long <see cref="Get"/> and <see cref="Wait"/> wait where nothing else is said.</summary>
    public TimeSpan Timeout { get; }

    private nint Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(_handle == 0, this);
            return _handle;
        }
    }

    /// <summary>Serves a table in this process, on all its addresses, and connects to it.</summary>
    /// <param name="host">The address by which this process reaches itself, e.g. <c>127.0.0.1</c> or <c>::1</c>.</param>
    /// <param name="port">0: one that is free; <see cref="Port"/> says which.</param>
    /// <param name="timeout">See <see cref="Timeout"/>.</param>
    /// <exception cref="Base.InputException">This installation has no c10d; says what to install.</exception>
    /// <exception cref="TorchException">The port is in use.</exception>
    public static Store Serve(string host, int port, TimeSpan timeout) => Open(host, port, serves: true, timeout);

    /// <summary>Connects to another process's table, as soon as it is there.</summary>
    /// <param name="host">Name or address, IPv4 or IPv6.</param>
    /// <exception cref="TimeoutException">Nobody served one there in time.</exception>
    public static Store Connect(string host, int port, TimeSpan timeout)
    {
        Backend.Gloo.Require();
        return Open(Reach(host, port, timeout).ToString(), port, serves: false, timeout);
    }

    private static Store Open(string host, int port, bool serves, TimeSpan timeout)
    {
        Backend.Gloo.Require();
        nint handle;
        var error = Shim.StoreOpen(host, &port, serves ? 1 : 0, Milliseconds(timeout), &handle);
        if (error != 0)
            throw new TorchException($"the store at {Name(host, port)} could not be {(serves ? "served" : "reached")}: {Shim.Take(error)}");
        return new(handle, host, port, timeout);
    }

    // libtorch tries a host's addresses one by one, with pauses and warnings; once something listens it connects at its first try.
    private static IPAddress Reach(string host, int port, TimeSpan timeout)
    {
        var end = Environment.TickCount64 + (long)timeout.TotalMilliseconds;
        Exception? last = null;
        for (var pause = 10; ; pause = Math.Min(pause * 2, 250))
        {
            try
            {
                foreach (var address in IPAddress.TryParse(host, out var given) ? [given] : Dns.GetHostAddresses(host))
                {
                    using var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
                    using var limit = new CancellationTokenSource((int)Math.Clamp(end - Environment.TickCount64, 1, int.MaxValue));
                    try
                    {
                        socket.ConnectAsync(address, port, limit.Token).AsTask().GetAwaiter().GetResult();
                        return address;
                    }
                    catch (Exception failure) when (failure is SocketException or OperationCanceledException)
                    {
                        last = failure;
                    }
                }
            }
            catch (SocketException failure)
            {
                last = failure;     // a name that nobody knows yet
            }
            if (Environment.TickCount64 >= end)
                throw new TimeoutException($"nobody served a store at {Name(host, port)} within {timeout.TotalSeconds:0.#} s"
                    + (last is SocketException why ? $": {why.Message}" : ""), last);
            Thread.Sleep(pause);
        }
    }

    private static string Name(string host, int port) => host.Contains(':', StringComparison.Ordinal) ? $"[{host}]:{port}" : $"{host}:{port}";

    internal static int Milliseconds(TimeSpan time) => (int)Math.Clamp(time.TotalMilliseconds, 1, int.MaxValue);

    /// <summary>The same table and connection, every key behind a prefix.</summary>
    public Store WithPrefix(string prefix)
    {
        nint handle;
        Shim.Check(Shim.StorePrefix(Handle, prefix, &handle));
        return new(handle, Host, Port, Timeout);
    }

    /// <summary>Another connection to the same table.</summary>
    public Store Another() => Open(Host, Port, serves: false, Timeout);

    /// <summary>Sets a key.</summary>
    public void Set(string key, ReadOnlySpan<byte> value)
    {
        fixed (byte* bytes = value)
            Check(Shim.StoreSet(Handle, key, bytes, value.Length), key);
    }

    /// <summary>Sets a key to a text.</summary>
    public void Set(string key, string text) => Set(key, Encoding.UTF8.GetBytes(text));

    /// <summary>What a key holds, as soon as it is set.</summary>
    /// <exception cref="TimeoutException">Nobody set it within <see cref="Timeout"/>.</exception>
    public byte[] Get(string key)
    {
        Wait(Timeout, key);
        return Read(key);
    }

    /// <summary>The text that a key holds; null where it is not set.</summary>
    public string? TryGetText(string key) => Has(key) ? Encoding.UTF8.GetString(Read(key)) : null;

    private byte[] Read(string key)
    {
        byte* bytes;
        long length;
        Check(Shim.StoreGet(Handle, key, &bytes, &length), key);
        var value = new ReadOnlySpan<byte>(bytes, checked((int)length)).ToArray();
        Shim.StoreFreeValue(bytes);
        return value;
    }

    /// <summary>Whether a key is set.</summary>
    public bool Has(string key)
    {
        int result;
        Check(Shim.StoreHas(Handle, key, &result), key);
        return result != 0;
    }

    /// <summary>Waits until all keys are set.</summary>
    /// <exception cref="TimeoutException">Some were not; names them.</exception>
    public void Wait(TimeSpan timeout, params ReadOnlySpan<string> keys)
    {
        // Asked again and again: a wait at the server that runs out leaves its late answer in the connection.
        var end = Environment.TickCount64 + Milliseconds(timeout);
        var pause = 1;
        for (var i = 0; i < keys.Length;)
        {
            if (Has(keys[i]))
            {
                i++;
                continue;
            }
            if (Environment.TickCount64 >= end)
                throw new TimeoutException($"nobody set {Missing(keys[i..])} in the store at {Name(Host, Port)} within "
                    + $"{timeout.TotalSeconds:0.#} s");
            Thread.Sleep(pause);
            pause = Math.Min(pause * 2, 50);
        }
    }

    private string Missing(ReadOnlySpan<string> keys)
    {
        var missing = new List<string>();
        foreach (var key in keys)
            if (!Has(key))
                missing.Add($"'{key}'");
        return string.Join(", ", missing);
    }

    /// <summary>Adds to a number, which begins at 0; the sum.</summary>
    public long Add(string key, long value)
    {
        long result;
        Check(Shim.StoreAdd(Handle, key, value, &result), key);
        return result;
    }

    /// <summary>Removes a key; whether it was set.</summary>
    public bool Delete(string key)
    {
        int result;
        Check(Shim.StoreDelete(Handle, key, &result), key);
        return result != 0;
    }

    private void Check(nint error, string key)
    {
        if (error != 0)
            throw new TorchException($"the store at {Name(Host, Port)}, key '{key}': {Shim.Take(error)}");
    }

    internal nint Native => Handle;

    /// <summary>Closes the connection, and the table where this process serves it.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _handle, 0) is var handle and not 0)
            Shim.StoreFree(handle);
    }
}
