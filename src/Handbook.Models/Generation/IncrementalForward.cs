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
internal sealed class IncrementalForward(Decoder model)
{
    private readonly bool _oneByOne = RopeFrequencies.DependOnLength(model.Config);     // then the longest of a batch would turn the others

    /// <summary>Logits after the last new token of each sequence.</summary>
    /// <param name="caches">One per sequence; the new tokens are added.</param>
    /// <param name="tokens">New tokens of each sequence, at least one.</param>
    /// <param name="groups">Which adapters each sequence has, in rising order (<see cref="Decoder.Joint"/>); null where all have the
    /// same.</param>
    /// <returns>[S, V], float32 or float64, on the CPU, where tokens are drawn.</returns>
    public Tensor Logits(IReadOnlyList<KeyValueCache> caches, IReadOnlyList<ReadOnlyMemory<int>> tokens, IReadOnlyList<int>? groups = null)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        using var exact = RowExact.Enabled();
        if (!_oneByOne || tokens.Count == 1)
            return scope.Keep(Logits(new Step(caches, tokens), groups));
        return scope.Keep(Tensor.Cat([.. tokens.Select((some, s) =>
            Logits(new Step([caches[s]], [some]), groups is null ? null : [groups[s]]))], 0));
    }

    private Tensor Logits(Step step, IReadOnlyList<int>? groups)
    {
        if (groups is null)
            return Logits(step);
        using var rows = RowGroups.Of([.. Enumerable.Range(0, groups[^1] + 2).Select(group =>
            step.Plan.First(Enumerable.Range(0, groups.Count).FirstOrDefault(s => groups[s] >= group, groups.Count)))]);
        return Logits(step);
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
        return scope.Keep(HostMemory.Of(LinearLogProb.Logits(hidden, model.Head, model.HeadOptions)));
    }

    private static Tensor Attend(DecoderLayer layer, Tensor x, Step step, RotaryTable? rotary)
    {
        using var scope = TensorScope.Enter();
        var attention = layer.Attention;
        var qkv = attention.QueryKeyValue(x);
        if (rotary is not null)
            DeviceKernels.Of(qkv).Rotate(rotary, step.Positions, qkv, attention.Shape.Heads + attention.Shape.KeyHeads,
                attention.Shape.HeadSize, backward: false);
        qkv = attention.Turned(qkv, step.Positions);
        var mixed = Tensor.Empty(qkv.DType, qkv.Device, qkv.Size(0), attention.Shape.Heads * attention.Shape.ValueSize);
        var sinks = attention.Sinks?.Value.To(qkv.DType == DType.Float64 ? DType.Float64 : DType.Float32);
        DeviceKernels.Of(qkv).AttentionDecode(step.Plan, layer.Index, attention.Shape, qkv, mixed, sinks);
        return scope.Keep(attention.Output(mixed));
    }

    /// <summary>The new tokens of all sequences behind one another.</summary>
    private sealed class Step
    {
        public Step(IReadOnlyList<KeyValueCache> caches, IReadOnlyList<ReadOnlyMemory<int>> tokens)
        {
            Caches = caches;
            Count = tokens.Count;
            var (first, last, chains) = (new int[Count + 1], new int[Count], new CacheBlock[Count][]);
            for (var s = 0; s < Count; s++)
            {
                var added = tokens[s].Length;
                if (added == 0)
                    throw new ArgumentException($"sequence {s} has no new token", nameof(tokens));
                caches[s].Reserve(added);
                last[s] = first[s] + added - 1;
                first[s + 1] = first[s] + added;
                Longest = Math.Max(Longest, caches[s].Length + added);
                chains[s] = caches[s].Blocks(added);
            }
            Plan = new(chains, first);
            var (ids, positions) = (new int[Plan.Tokens], new int[Plan.Tokens]);
            for (var s = 0; s < Count; s++)
            {
                tokens[s].Span.CopyTo(ids.AsSpan(first[s]));
                for (var i = first[s]; i < first[s + 1]; i++)
                    positions[i] = caches[s].Length + i - first[s];
            }
            (Tokens, Positions, Last) = (ids, positions, last);
        }

        public IReadOnlyList<KeyValueCache> Caches { get; }

        public int Count { get; }

        public Mirrored<int> Tokens { get; }

        public Mirrored<int> Positions { get; }

        /// <summary>Where keys and values of the new tokens go, and what they attend over.</summary>
        public CachePlan Plan { get; }

        /// <summary>Row of each sequence's last new token.</summary>
        public Mirrored<int> Last { get; }

        public int Longest { get; }

        public void Advance()
        {
            for (var s = 0; s < Count; s++)
                Caches[s].Advance(Plan.New(s));
        }
    }
}
