namespace Handbook.Models.Generation;

/// <summary>One prompt while its answers are made.</summary>
/// <param name="index">Which of the call's prompts it is.</param>
/// <param name="request">Its tokens, and its answers.</param>
/// <param name="cache">It becomes the prompt's, and has what is known of it already.</param>
/// <param name="onDone">Called when no answer needs it any more.</param>
internal sealed class PromptCache(int index, SampleRequest request, KeyValueCache cache, Action<PromptCache>? onDone = null)
{
    private int _left = request.Streams.Count;

    public int Index { get; } = index;

    public SampleRequest Request { get; } = request;

    public KeyValueCache Cache { get; } = cache;

    /// <summary>Whose adapters it is read with, where the network has several (<see cref="Decoder.Joint"/>).</summary>
    public int Group { get; init; }

    public bool IsRead => Cache.Length == Request.Tokens.Length;

    /// <summary>What the network says after the prompt; empty until it is read.</summary>
    public float[] Logits { get; private set; } = [];

    public ReadOnlyMemory<int> NextPart(int most) =>
        Request.Tokens.AsMemory(Cache.Length, Math.Min(most, Request.Tokens.Length - Cache.Length));

    /// <summary>Hears the logits behind a part; those behind the last part are kept for the answers' first tokens.</summary>
    public void Read(ReadOnlySpan<float> logits)
    {
        if (IsRead)
            Logits = logits.ToArray();
    }

    /// <summary>One answer less needs the prompt; behind the last one its memory is given back.</summary>
    public void Release()
    {
        if (--_left > 0)
            return;
        Cache.Dispose();
        Logits = [];
        onDone?.Invoke(this);
    }
}
