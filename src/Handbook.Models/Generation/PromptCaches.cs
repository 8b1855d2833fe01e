using Handbook.Torch;

namespace Handbook.Models.Generation;

/// <summary>The prompts of one call: each is read once, and what several begin with once for all of them.</summary>
internal sealed class PromptCaches : IDisposable
{
    /// <summary>Fewer tokens in common are not worth a cache of their own.</summary>
    private const int WorthSharing = 16;

    private readonly Decoder _model;
    private readonly IncrementalForward _forward;
    private readonly int _tokensAtOnce;
    private readonly IReadOnlyList<SampleRequest> _requests;
    private readonly PromptCache?[] _prompts;
    private readonly SharedStart?[] _starts;

    public PromptCaches(Decoder model, IncrementalForward forward, IReadOnlyList<SampleRequest> requests, int tokensAtOnce)
    {
        (_model, _forward, _requests, _tokensAtOnce) = (model, forward, requests, tokensAtOnce);
        (_prompts, _starts) = (new PromptCache?[requests.Count], new SharedStart?[requests.Count]);
        FindStarts();
    }

    /// <summary>A prompt, for one more of its answers; it is given back by <see cref="PromptCache.Release"/>.</summary>
    public PromptCache Begin(int index)
    {
        var start = _starts[index];
        if (start is not null)
            start.Cache ??= Read(start.Tokens);
        return _prompts[index] ??= new PromptCache(index, _requests[index],
            new KeyValueCache(_model.Config, _model.Compute, _requests[index].Tokens.Length - (start?.Tokens.Length ?? 0), start?.Cache,
                device: _model.Device),
            _ =>
        {
            if (start is not null && --start.Users == 0)
                start.Cache!.Dispose();
        });
    }

    private KeyValueCache Read(ReadOnlyMemory<int> tokens)
    {
        var cache = new KeyValueCache(_model.Config, _model.Compute, tokens.Length, device: _model.Device);
        for (var at = 0; at < tokens.Length; at += _tokensAtOnce)
        {
            using var scope = TensorScope.Enter();
            _forward.Logits([cache], [tokens.Slice(at, Math.Min(_tokensAtOnce, tokens.Length - at))]);
        }
        return cache;
    }

    // Prompts that begin alike, such as those behind one system turn; the last token of each is left to the prompt itself, for its logits.
    private void FindStarts()
    {
        var alike = Enumerable.Range(0, _requests.Count)
            .Where(r => _requests[r].Tokens.Length > WorthSharing && _requests[r].Streams.Count > 0)
            .GroupBy(r => string.Join(' ', _requests[r].Tokens.Take(WorthSharing)));
        foreach (var group in alike)
        {
            int[] members = [.. group];
            if (members.Length == 1)
                continue;
            var first = _requests[members[0]].Tokens.AsSpan();
            var common = members.Min(r => _requests[r].Tokens.Length - 1);
            foreach (var r in members)
                common = Math.Min(common, first.CommonPrefixLength(_requests[r].Tokens));
            var start = new SharedStart(_requests[members[0]].Tokens.AsMemory(0, common)) { Users = members.Length };
            foreach (var r in members)
                _starts[r] = start;
        }
    }

    public void Dispose()
    {
        foreach (var prompt in _prompts)
            prompt?.Cache.Dispose();
        foreach (var start in _starts)
            start?.Cache?.Dispose();
    }

    private sealed class SharedStart(ReadOnlyMemory<int> tokens)
    {
        public ReadOnlyMemory<int> Tokens { get; } = tokens;

        public KeyValueCache? Cache { get; set; }

        /// <summary>Prompts that are not yet done with it.</summary>
        public int Users { get; set; }
    }
}
