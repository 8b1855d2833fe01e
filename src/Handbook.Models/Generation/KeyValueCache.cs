using Handbook.Torch;
using Handbook.Torch.Kernels;

namespace Handbook.Models.Generation;

/// <summary>Keys and values of one sequence in all layers, so that each new token attends to them without computing them again.</summary>
/// <remarks>
/// One buffer [layers, K] of [capacity, E] and [capacity, V]: the keys of a head lie behind one another, and so do its values, as attention
/// reads them; it doubles when it is full. What stands before may be the beginning of another cache, such as that of a prompt which several
/// answers share: its tokens are computed and kept once. A cache counts who holds it, and frees its memory when the last one lets go.
/// </remarks>
internal sealed class KeyValueCache : IDisposable
{
    private readonly int _layers, _keyHeads, _headSize, _valueSize;
    private readonly DType _dtype;
    private readonly Device _device;
    private Tensor _buffer;
    private int _capacity;
    private int _holders = 1;
    private readonly CacheMemory? _memory;

    /// <summary>Bytes that one token takes in all layers.</summary>
    public static long BytesPerToken(DecoderConfig config, DType dtype) =>
        (long)config.Layers * config.KeyValueHeads * (config.HeadSize + config.ValueHeadSize) * dtype.Size;

    /// <summary>The tokens that there is room for when a cache that began with room for some has taken so many, one by one.</summary>
    public static long Capacity(long first, long tokens)
    {
        var capacity = Math.Max(first, 16);
        while (capacity < tokens)
            capacity *= 2;
        return capacity;
    }

    /// <param name="config">Layers and heads.</param>
    /// <param name="dtype">Element type of the model's products.</param>
    /// <param name="capacity">Tokens to make room for at first.</param>
    /// <param name="prefix">What stands before the first token; it is held as long as this cache is. null begins anew.</param>
    /// <param name="start">How many of the prefix's tokens stand before; it must have them already. null for all that it has.</param>
    /// <param name="memory">Counts the bytes of this cache; null for as the prefix is counted.</param>
    /// <param name="device">Where the model computes; null: on the CPU.</param>
    public KeyValueCache(DecoderConfig config, DType dtype, int capacity = 128, KeyValueCache? prefix = null, int? start = null,
        CacheMemory? memory = null, Device? device = null)
    {
        _device = device ?? Device.Cpu;
        _memory = memory ?? prefix?._memory;
        (_layers, _keyHeads, _headSize, _valueSize) = (config.Layers, config.KeyValueHeads, config.HeadSize, config.ValueHeadSize);
        Start = start ?? prefix?.Length ?? 0;
        ArgumentOutOfRangeException.ThrowIfGreaterThan(Start, prefix?.Length ?? 0, nameof(start));
        while (prefix is not null && Start <= prefix.Start)
            prefix = prefix.Prefix;
        (_dtype, _capacity, Prefix) = (dtype, Math.Max(capacity, 16), prefix?.Hold());
        _buffer = Room(_capacity);
        Depth = prefix is null ? 0 : prefix.Depth + 1;
        _memory?.Add(Bytes);
    }

    /// <summary>One more holder, who lets go with <see cref="Dispose"/>; on the thread that the cache is used on.</summary>
    public KeyValueCache Hold()
    {
        ObjectDisposedException.ThrowIf(_holders == 0, this);
        _holders++;
        return this;
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

    /// <summary>Memory of this cache, without that of what stands before.</summary>
    public long Bytes => (long)_layers * _keyHeads * _capacity * (_headSize + _valueSize) * _dtype.Size;

    /// <summary>Makes room for more tokens.</summary>
    internal void Reserve(int more)
    {
        if (OwnLength + more <= _capacity)
            return;
        var capacity = Math.Max(2 * _capacity, OwnLength + more);
        using var scope = TensorScope.Enter();
        var grown = Room(capacity);
        Keys(grown, capacity).Narrow(2, 0, OwnLength).CopyFrom(Keys(_buffer, _capacity).Narrow(2, 0, OwnLength));
        Values(grown, capacity).Narrow(2, 0, OwnLength).CopyFrom(Values(_buffer, _capacity).Narrow(2, 0, OwnLength));
        _buffer.Dispose();
        _memory?.Add(-Bytes);
        (_buffer, _capacity) = (grown, capacity);
        _memory?.Add(Bytes);
    }

    /// <summary>What new tokens attend over: the caches before this one, from the first on, and this one with the new tokens.</summary>
    internal CacheBlock[] Blocks(int added)
    {
        var blocks = new CacheBlock[Depth + 1];
        blocks[Depth] = new(_buffer, _capacity, OwnLength + added);
        var below = this;
        for (var depth = Depth - 1; depth >= 0; depth--, below = below.Prefix)
            blocks[depth] = new(below.Prefix!._buffer, below.Prefix._capacity, below.Start - below.Prefix.Start);
        return blocks;
    }

    // [layers, K, capacity, E]
    private Tensor Keys(Tensor buffer, int capacity) =>
        buffer.Narrow(2, 0, capacity * _headSize).View(_layers, _keyHeads, capacity, _headSize);

    private Tensor Values(Tensor buffer, int capacity) =>
        buffer.Narrow(2, capacity * _headSize, capacity * _valueSize).View(_layers, _keyHeads, capacity, _valueSize);

    private Tensor Room(int capacity) =>
        TensorScope.Detach(Tensor.Empty(_dtype, _device, _layers, _keyHeads, (long)capacity * (_headSize + _valueSize)));

    /// <summary>Counts tokens whose keys and values all layers have written.</summary>
    internal void Advance(int tokens) => OwnLength += tokens;

    /// <summary>Lets go; the last holder's frees the memory.</summary>
    public void Dispose()
    {
        if (_holders == 0 || --_holders > 0)
            return;
        _memory?.Add(-Bytes);
        _buffer.Dispose();
        Prefix?.Dispose();
    }
}

/// <summary>How much memory several caches take together.</summary>
internal sealed class CacheMemory
{
    private long _bytes;

    public long Bytes => Interlocked.Read(ref _bytes);

    public void Add(long bytes) => Interlocked.Add(ref _bytes, bytes);
}
