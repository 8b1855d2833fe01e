using Handbook.Models;
using Handbook.Torch;

namespace Handbook.Generation;

/// <summary>Keys and values of one sequence in all layers, so that each new token attends to them without computing them again.</summary>
/// <remarks>Per layer one buffer [capacity, 2·K·E], a token's keys before its values; it doubles when it is full.</remarks>
public sealed class KeyValueCache : IDisposable
{
    private readonly Tensor[] _layers;
    private readonly int _width;
    private readonly DType _dtype;
    private int _capacity;

    /// <param name="config">Layers and heads.</param>
    /// <param name="dtype">Element type of the model's products.</param>
    /// <param name="capacity">Tokens to make room for at first.</param>
    public KeyValueCache(DecoderConfig config, DType dtype, int capacity = 128)
    {
        (_width, _dtype, _capacity) = (config.KeyValueSize, dtype, Math.Max(capacity, 16));
        _layers = [.. Enumerable.Range(0, config.Layers).Select(_ => TensorScope.Detach(Tensor.Empty(dtype, Device.Cpu, _capacity, 2 * _width)))];
    }

    /// <summary>Tokens in the cache.</summary>
    public int Length { get; private set; }

    /// <summary>Makes room for more tokens.</summary>
    internal void Reserve(int more)
    {
        if (Length + more <= _capacity)
            return;
        var capacity = Math.Max(2 * _capacity, Length + more);
        for (var i = 0; i < _layers.Length; i++)
        {
            using var scope = TensorScope.Enter();
            var grown = TensorScope.Detach(Tensor.Empty(_dtype, Device.Cpu, capacity, 2 * _width));
            grown.Narrow(0, 0, Length).CopyFrom(_layers[i].Narrow(0, 0, Length));
            _layers[i].Dispose();
            _layers[i] = grown;
        }
        _capacity = capacity;
    }

    /// <summary>First element of a layer's buffer; rows are 2·K·E elements apart, values begin K·E elements after the keys.</summary>
    internal unsafe T* Layer<T>(int layer) where T : unmanaged => _layers[layer].Pointer<T>();

    /// <summary>Counts tokens whose keys and values all layers have written.</summary>
    internal void Advance(int tokens) => Length += tokens;

    public void Dispose()
    {
        foreach (var layer in _layers)
            layer.Dispose();
    }
}
