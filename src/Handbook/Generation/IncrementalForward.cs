using Handbook.Models;
using Handbook.Modules;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Generation;

/// <summary>The network over new tokens of several sequences, each with its cache; sequences may bring different numbers of tokens.</summary>
/// <remarks>The same weights and the same layers as in training; only the way to attend differs.</remarks>
public sealed unsafe class IncrementalForward(Decoder model)
{
    /// <summary>Logits after the last new token of each sequence.</summary>
    /// <param name="caches">One per sequence; the new tokens are added.</param>
    /// <param name="tokens">New tokens of each sequence, at least one.</param>
    /// <returns>[S, V], float32 or float64.</returns>
    public Tensor Logits(IReadOnlyList<KeyValueCache> caches, IReadOnlyList<int[]> tokens)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var first = new int[tokens.Count];
        var (flat, positions, last) = (new List<int>(), new List<int>(), new int[tokens.Count]);
        var longest = 0;
        for (var s = 0; s < tokens.Count; s++)
        {
            if (tokens[s].Length == 0)
                throw new ArgumentException($"sequence {s} has no new token", nameof(tokens));
            caches[s].Reserve(tokens[s].Length);
            first[s] = flat.Count;
            for (var i = 0; i < tokens[s].Length; i++)
            {
                flat.Add(tokens[s][i]);
                positions.Add(caches[s].Length + i);
            }
            last[s] = flat.Count - 1;
            longest = Math.Max(longest, caches[s].Length + tokens[s].Length);
        }
        int[] places = [.. positions];
        var rotary = model.Rotary(longest);
        var residual = model.Embed([.. flat], places);
        Tensor? delta = null;
        foreach (var layer in model.Layers)
            (residual, delta) = layer.Forward(residual, delta, model.Compute, x => Attend(layer, x, caches, tokens, first, places, rotary));
        for (var s = 0; s < tokens.Count; s++)
            caches[s].Advance(tokens[s].Length);
        var hidden = model.FinalNorm(RowSelect.Forward(residual, last), delta is null ? null : RowSelect.Forward(delta, last));
        return scope.Keep(LinearLogProb.Logits(hidden, model.Head, model.HeadOptions));
    }

    private static Tensor Attend(DecoderLayer layer, Tensor x, IReadOnlyList<KeyValueCache> caches, IReadOnlyList<int[]> tokens, int[] first, int[] positions, RotaryTable? rotary)
    {
        using var scope = TensorScope.Enter();
        var attention = layer.Attention;
        var qkv = attention.QueryKeyValue(x);
        var mixed = Tensor.Empty(qkv.DType, Device.Cpu, qkv.Size(0), attention.Shape.Heads * attention.Shape.HeadSize);
        rotary = attention.Rotates ? rotary : null;
        switch (qkv.DType)
        {
            case DType.Float32: Attend<float>(layer.Index, attention.Shape, qkv, mixed, caches, tokens, first, positions, rotary); break;
            case DType.BFloat16: Attend<BFloat16>(layer.Index, attention.Shape, qkv, mixed, caches, tokens, first, positions, rotary); break;
            default: Attend<double>(layer.Index, attention.Shape, qkv, mixed, caches, tokens, first, positions, rotary); break;
        }
        return scope.Keep(attention.Output(mixed));
    }

    private static void Attend<T>(int layer, in AttentionShape shape, Tensor qkv, Tensor mixed, IReadOnlyList<KeyValueCache> caches, IReadOnlyList<int[]> tokens, int[] first, int[] positions, RotaryTable? rotary)
        where T : unmanaged
    {
        var rows = qkv.Pointer<T>();
        var stride = qkv.Stride(0);
        if (rotary is not null)
        {
            fixed (float* cos = rotary.Cos, sin = rotary.Sin)
            fixed (int* places = positions)
                RopeKernel.Apply(rows, stride, positions.Length, shape.Heads + shape.KeyHeads, shape.HeadSize, rotary.RotarySize, cos, sin, places, backward: false);
        }
        var width = shape.KeyHeads * shape.HeadSize;
        var sequences = new CachedSequence<T>[caches.Count];
        for (var s = 0; s < sequences.Length; s++)
        {
            var cache = caches[s].Layer<T>(layer);
            for (var i = 0; i < tokens[s].Length; i++)
            {
                var source = rows + (first[s] + i) * stride + shape.Heads * shape.HeadSize;      // keys and values lie side by side there, too
                new ReadOnlySpan<T>(source, 2 * width).CopyTo(new Span<T>(cache + (long)(caches[s].Length + i) * 2 * width, 2 * width));
            }
            sequences[s] = new CachedSequence<T>(new(cache, 2 * width), new(cache + width, 2 * width), caches[s].Length + tokens[s].Length, first[s], tokens[s].Length);
        }
        AttentionKernel.Decode<T>(sequences, shape, new(rows, (nint)stride), new(mixed.Pointer<T>(), (nint)mixed.Stride(0)));
    }
}
