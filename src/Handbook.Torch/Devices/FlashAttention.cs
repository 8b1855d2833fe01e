using Handbook.Torch.Cuda;

namespace Handbook.Torch.Devices;

/// <summary>Sequences that attention runs over: one behind another in a flat tensor.</summary>
/// <param name="QueryStarts">Where each one's queries begin, and their end; [sequences + 1], int32, on the device.</param>
/// <param name="KeyStarts">The same of the keys.</param>
/// <param name="LongestQuery">Tokens of the longest one's queries.</param>
/// <param name="LongestKey">Tokens of the longest one's keys.</param>
internal readonly record struct FlashSequences(Tensor QueryStarts, Tensor KeyStarts, int LongestQuery, int LongestKey);

/// <summary>Which keys a query sees, and how scores are scaled.</summary>
/// <param name="Causal">Only keys at or before it, the ends of queries and keys being at one place.</param>
/// <param name="Scale">Factor of the scores.</param>
/// <param name="Window">How many keys before it; null for all.</param>
internal readonly record struct FlashMask(bool Causal, double Scale, int? Window = null);

/// <summary>What the forward pass gives and the backward pass takes.</summary>
/// <param name="Output">[N, H, E].</param>
/// <param name="LogSumExp">log Σ exp of each query's scores; [H, N], or [sequences, H, longest] of older releases; float32.</param>
/// <param name="State">The state of the random numbers that dropout would have drawn.</param>
/// <param name="SecondState">Its other half, or a tensor that this release does not use.</param>
internal readonly record struct FlashResult(Tensor Output, Tensor LogSumExp, Tensor State, Tensor SecondState);

/// <summary>ATen's flash attention over sequences of any lengths, by the schema that this installation has.</summary>
/// <remarks>
/// Two are known. Up to libtorch 2.6 the forward pass gives a seed and an offset of the random numbers (<c>philox_seed</c>,
/// <c>philox_offset</c>); later ones one state and a tensor that is not used (<c>rng_state</c>, <c>unused</c>). The backward pass takes the
/// two by the same names. Dropout is not used here.
/// </remarks>
internal sealed class FlashAttention
{
    private static readonly (string First, string Second)[] s_states = [("rng_state", "unused"), ("philox_seed", "philox_offset")];

    private readonly NamedOperator _forward, _backward;
    private readonly (string First, string Second) _states;
    private readonly int _output, _logSumExp, _first, _second;

    /// <exception cref="TorchException">The schemas are of neither known form.</exception>
    public FlashAttention(NamedOperator forward, NamedOperator backward)
    {
        (_forward, _backward) = (forward, backward);
        var results = forward.Schema.Results.ToList();
        _states = s_states.FirstOrDefault(states => results.Contains(states.First) && results.Contains(states.Second)
            && backward.Schema.Arguments.Any(argument => argument.Name == states.First)
            && backward.Schema.Arguments.Any(argument => argument.Name == states.Second));
        (_output, _logSumExp) = (results.IndexOf("output"), results.IndexOf("softmax_logsumexp"));
        (_first, _second) = (results.IndexOf(_states.First ?? ""), results.IndexOf(_states.Second ?? ""));
        if (_states.First is null || _output < 0 || _logSumExp < 0)
            throw new TorchException($"{forward.Schema.Name} of libtorch {TorchRuntime.Version} gives ({string.Join(", ", results)}), a form "
                + "that this program does not know");
    }

    /// <summary>Whether a token may see a window of those before it alone.</summary>
    public bool HasWindow => _forward.Schema.Arguments.Any(argument => argument.Name == "window_size_left");

    /// <summary>Whether the forward pass gave the log-sum-exp as [sequences, H, longest], in which form the backward pass wants it back.
    /// </summary>
    public bool IsPadded { get; private set; }

    /// <summary>That of this machine's cards; null where it has none, or a card multiplies no bfloat16 and is too old for it.</summary>
    public static FlashAttention? OfMachine() =>
        CudaDriver.Default is { } driver && driver.Cards.All(card => card.MultipliesBFloat16) ? Find(out _) : null;

    /// <summary>This installation's; null where it has none of a known form, for the reason in <paramref name="problem"/>.</summary>
    public static FlashAttention? Find(out string problem)
    {
        var (forward, backward) = (NamedOperator.Find("aten::_flash_attention_forward"), NamedOperator.Find("aten::_flash_attention_backward"));
        problem = "";
        if (forward is null || backward is null)
        {
            problem = $"libtorch {TorchRuntime.Version} has no flash attention over sequences of any lengths";
            return null;
        }
        try
        {
            return new(forward, backward);
        }
        catch (TorchException error)
        {
            problem = error.Message;
            return null;
        }
    }

    /// <param name="query">[N, H, E], float16 or bfloat16, on a GPU.</param>
    /// <param name="key">[M, K, E]; H is a multiple of K.</param>
    /// <param name="value">[M, K, E].</param>
    public FlashResult Forward(Tensor query, Tensor key, Tensor value, in FlashSequences sequences, in FlashMask mask)
    {
        using var scope = TensorScope.Enter();
        var results = _forward.Call([("query", query), ("key", key), ("value", value), .. Common(sequences, mask),
            ("return_debug_mask", false)]);
        IsPadded = results[_logSumExp].Dims == 3;
        return new(scope.Keep(results[_output]), scope.Keep(results[_logSumExp]), scope.Keep(results[_first]), scope.Keep(results[_second]));
    }

    /// <param name="result">What the forward pass gave; where parts of the keys were attended apart, the merged output and log-sum-exp.</param>
    /// <param name="outputGradient">[N, H, E].</param>
    /// <returns>Derivatives by query, key and value.</returns>
    public (Tensor Query, Tensor Key, Tensor Value) Backward(Tensor outputGradient, Tensor query, Tensor key, Tensor value,
        in FlashResult result, in FlashSequences sequences, in FlashMask mask)
    {
        using var scope = TensorScope.Enter();
        var gradients = _backward.Call([("grad_out", outputGradient), ("query", query), ("key", key), ("value", value),
            ("out", result.Output), ("logsumexp", result.LogSumExp), .. Common(sequences, mask), (_states.First, result.State),
            (_states.Second, result.SecondState)]);
        return (scope.Keep(gradients[0]), scope.Keep(gradients[1]), scope.Keep(gradients[2]));
    }

    private static (string Name, Value Value)[] Common(in FlashSequences sequences, in FlashMask mask)
    {
        (string, Value)[] common = [("cum_seq_q", sequences.QueryStarts), ("cum_seq_k", sequences.KeyStarts),
            ("max_q", sequences.LongestQuery), ("max_k", sequences.LongestKey), ("dropout_p", 0.0), ("is_causal", mask.Causal),
            ("scale", mask.Scale)];
        return mask.Window is { } window ? [.. common, ("window_size_left", window), ("window_size_right", mask.Causal ? 0 : -1)] : common;
    }
}
