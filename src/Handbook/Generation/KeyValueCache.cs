using Handbook.Models;
using Handbook.Torch;

namespace Handbook.Generation;

/// <summary>Keys and values of one sequence in all layers, so that each new token attends to them without computing them again.</summary>
/// <remarks>
/// One buffer [layers, capacity, 2·K·E], a token's keys before its values; it doubles when it is full. What stands before may be the cache of a
/// prompt that several answers share: its tokens are computed and kept once.
/// </remarks>
public sealed class KeyValueCache : IDisposable
{
    private readonly int _width;
    private readonly int _layers;
    private readonly DType _dtype;
    private Tensor _buffer;
    private int _capacity;

    /// <param name="config">Layers and heads.</param>
    /// <param name="dtype">Element type of the model's products.</param>
    /// <param name="capacity">Tokens to make room for at first.</param>
    /// <param name="prefix">The tokens before the first; it must be complete, and outlive this cache. null begins anew.</param>
    public KeyValueCache(DecoderConfig config, DType dtype, int capacity = 128, KeyValueCache? prefix = null)
    {
        (_width, _layers, _dtype, _capacity, Prefix) = (2 * config.KeyValueSize, config.Layers, dtype, Math.Max(capacity, 16), prefix);
        _buffer = TensorScope.Detach(Tensor.Empty(_dtype, Device.Cpu, _layers, _capacity, _width));
        Start = prefix?.Length ?? 0;
        Depth = prefix is null ? 0 : prefix.Depth + 1;
    }

    /// <summary>What stands before; null for nothing.</summary>
    public KeyValueCache? Prefix { get; }

    /// <summary>Caches before this one.</summary>
    internal int Depth { get; }

    /// <summary>Tokens before the first of this cache.</summary>
    public int Start { get; }

    /// <summary>Tokens of the sequence so far, those before this cache included.</summary>
    public int Length => Start + OwnLength;

    /// <summary>Tokens in this cache.</summary>
    public int OwnLength { get; private set; }

    /// <summary>Makes room for more tokens.</summary>
    internal void Reserve(int more)
    {
        if (OwnLength + more <= _capacity)
            return;
        var capacity = Math.Max(2 * _capacity, OwnLength + more);
        using var scope = TensorScope.Enter();
        var grown = TensorScope.Detach(Tensor.Empty(_dtype, Device.Cpu, _layers, capacity, _width));
        grown.Narrow(1, 0, OwnLength).CopyFrom(_buffer.Narrow(1, 0, OwnLength));
        _buffer.Dispose();
        (_buffer, _capacity) = (grown, capacity);
    }

    /// <summary>First element of a layer's buffer; rows are 2·K·E elements apart, values begin K·E elements after the keys.</summary>
    internal unsafe T* Layer<T>(int layer) where T : unmanaged => _buffer.Pointer<T>() + (long)layer * _capacity * _width;

    /// <summary>Counts tokens whose keys and values all layers have written.</summary>
    internal void Advance(int tokens) => OwnLength += tokens;

    public void Dispose() => _buffer.Dispose();
}
