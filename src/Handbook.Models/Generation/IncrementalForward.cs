using Handbook.Models.Blocks;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Models.Generation;

/// <summary>The network over new tokens of several sequences, each with its cache; sequences may bring
/// different numbers of tokens.</summary>
/// <remarks>
/// The same weights and the same layers as in training; only the way to attend differs. What a sequence gets does not depend on the others,
/// to the last bit.
/// </remarks>
internal sealed unsafe class IncrementalForward(Decoder model)
{
    private readonly bool _oneByOne = RopeFrequencies.DependOnLength(model.Config);     // then the longest of a batch would turn the others

    /// <summary>Logits after the last new token of each sequence.</summary>
    /// <param name="caches">One per sequence; the new tokens are added.</param>
    /// <param name="tokens">New tokens of each sequence, at least one.</param>
    /// <returns>[S, V], float32 or float64.</returns>
    public Tensor Logits(IReadOnlyList<KeyValueCache> caches, IReadOnlyList<ReadOnlyMemory<int>> tokens)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        using var exact = RowExact.Enabled();
        if (!_oneByOne || tokens.Count == 1)
            return scope.Keep(Logits(new Step(caches, tokens)));
        return scope.Keep(Tensor.Cat([.. tokens.Select((some, s) => Logits(new Step([caches[s]], [some])))], 0));
    }

    private Tensor Logits(Step step)
    {
        using var scope = TensorScope.Enter();
        var rotary = model.Rotary(step.Longest);
        var traffic = model.Parameters.Traffic;
        traffic?.Begin(forGradients: false);
        var residual = model.Embed(step.Tokens, step.Positions);
        Tensor? delta = null;
        foreach (var layer in model.Layers)
        {
            traffic?.Cross(layer.Index, model.Layers.Count);
            (residual, delta, _) = layer.Forward(residual, delta, model.Compute, x => Attend(layer, x, step, rotary.Of(layer.Index)),
                ForwardOptions.Plain);
        }
        traffic?.Cross(model.Layers.Count, model.Layers.Count);
        step.Advance();
        var hidden = model.FinalNorm(RowSelect.Forward(residual, step.Last), delta is null ? null : RowSelect.Forward(delta, step.Last));
        return scope.Keep(LinearLogProb.Logits(hidden, model.Head, model.HeadOptions));
    }

    private static Tensor Attend(DecoderLayer layer, Tensor x, Step step, RotaryTable? rotary)
    {
        using var scope = TensorScope.Enter();
        var attention = layer.Attention;
        var qkv = attention.QueryKeyValue(x);
        if (rotary is not null)
            DeviceKernels.Of(qkv).Rotate(rotary, step.Positions, qkv, attention.Shape.Heads + attention.Shape.KeyHeads,
                attention.Shape.HeadSize, backward: false);
        qkv = attention.Turned(qkv);
        var mixed = Tensor.Empty(qkv.DType, qkv.Device, qkv.Size(0), attention.Shape.Heads * attention.Shape.ValueSize);
        var sinks = attention.Sinks?.Value.To(qkv.DType == DType.Float64 ? DType.Float64 : DType.Float32);
        switch (qkv.DType)
        {
            case DType.Float32: Attend<float>(layer.Index, attention.Shape, qkv, mixed, sinks, step); break;
            case DType.BFloat16: Attend<BFloat16>(layer.Index, attention.Shape, qkv, mixed, sinks, step); break;
            default: Attend<double>(layer.Index, attention.Shape, qkv, mixed, sinks, step); break;
        }
        return scope.Keep(attention.Output(mixed));
    }

    private static void Attend<T>(int layer, in AttentionShape shape, Tensor qkv, Tensor mixed, Tensor? sinks, Step step)
        where T : unmanaged
    {
        var rows = qkv.Pointer<T>();
        var stride = qkv.Stride(0);
        var (size, valueSize) = (shape.HeadSize, shape.ValueSize);
        const int few = 64;     // so many fit on the stack
        Span<CachedSequence<T>> sequences = step.Count <= few ? stackalloc CachedSequence<T>[step.Count]
            : new CachedSequence<T>[step.Count];
        Span<CachedSegment<T>> prefixes = step.Prefixes <= 2 * few ? stackalloc CachedSegment<T>[step.Prefixes]
            : new CachedSegment<T>[step.Prefixes];
        fixed (CachedSegment<T>* prefix = prefixes)
        {
            var next = prefix;
            for (var s = 0; s < step.Count; s++)
            {
                var cache = step.Caches[s];
                var (keys, values) = (cache.Keys<T>(layer), cache.Values<T>(layer));
                var count = step.New(s);
                for (var i = 0; i < count; i++)
                {
                    var key = new ReadOnlySpan<T>(rows + (step.First[s] + i) * stride + shape.Heads * size, shape.KeyHeads * size);
                    var value = new ReadOnlySpan<T>(rows + (step.First[s] + i) * stride + (shape.Heads + shape.KeyHeads) * size,
                        shape.KeyHeads * valueSize);
                    for (var head = 0; head < shape.KeyHeads; head++)
                    {
                        key.Slice(head * size, size).CopyTo(new Span<T>(keys.At(cache.OwnLength + i, head), size));
                        value.Slice(head * valueSize, valueSize).CopyTo(new Span<T>(values.At(cache.OwnLength + i, head), valueSize));
                    }
                }
                var below = cache;
                for (var depth = cache.Depth - 1; depth >= 0; depth--)
                {
                    var at = below.Prefix!;
                    next[depth] = new(at.Keys<T>(layer), at.Values<T>(layer), below.Start - at.Start);
                    below = at;
                }
                sequences[s] = new(keys, values, cache.OwnLength + count, step.First[s], count, next, cache.Depth);
                next += cache.Depth;
            }
            AttentionKernel.Decode<T>(sequences, shape, new(rows, (nint)stride), new(mixed.Pointer<T>(), (nint)mixed.Stride(0)),
                sinks is null ? null : sinks.Data);
        }
    }

    /// <summary>The new tokens of all sequences behind one another.</summary>
    private sealed class Step
    {
        public Step(IReadOnlyList<KeyValueCache> caches, IReadOnlyList<ReadOnlyMemory<int>> tokens)
        {
            Caches = caches;
            Count = tokens.Count;
            (First, Last) = (new int[Count + 1], new int[Count]);
            for (var s = 0; s < Count; s++)
            {
                var added = tokens[s].Length;
                if (added == 0)
                    throw new ArgumentException($"sequence {s} has no new token", nameof(tokens));
                caches[s].Reserve(added);
                Last[s] = First[s] + added - 1;
                First[s + 1] = First[s] + added;
                Longest = Math.Max(Longest, caches[s].Length + added);
                Prefixes += caches[s].Depth;
            }
            (Tokens, Positions) = (new int[First[Count]], new int[First[Count]]);
            for (var s = 0; s < Count; s++)
            {
                tokens[s].Span.CopyTo(Tokens.AsSpan(First[s]));
                for (var i = First[s]; i <= Last[s]; i++)
                    Positions[i] = caches[s].Length + i - First[s];
            }
        }

        public IReadOnlyList<KeyValueCache> Caches { get; }

        public int Count { get; }

        public int[] Tokens { get; }

        public int[] Positions { get; }

        /// <summary>Row of each sequence's first new token.</summary>
        public int[] First { get; }

        /// <summary>Row of each sequence's last new token.</summary>
        public int[] Last { get; }

        public int Longest { get; }

        /// <summary>Caches that stand before others, each counted for every sequence.</summary>
        public int Prefixes { get; }

        public int New(int sequence) => First[sequence + 1] - First[sequence];

        public void Advance()
        {
            for (var s = 0; s < Count; s++)
                Caches[s].Advance(New(s));
        }
    }
}
