using Handbook.Torch.Kernels;

namespace Handbook.Torch.Devices;

/// <summary>A batch's segments as flash attention takes them: sequences behind one another, of which each sees itself causally; and
/// answers, behind one another, that see the whole of their prompts.</summary>
/// <remarks>
/// <code>
/// o, lse = attention( q, k, v )  of every segment over itself;       o', lse' of the answers over their prompts
/// o ← ( e^lse·o + e^lse'·o' ) / ( e^lse + e^lse' ),   lse ← log( e^lse + e^lse' )
/// </code>
/// Backward takes both halves apart again, each with the merged output and log-sum-exp: its gradients are then those of its own keys.
/// </remarks>
internal sealed class FlashTrees
{
    private readonly Ends _segments, _answerEnds, _promptEnds;
    private readonly Mirrored<int> _answers, _prompts;              // rows of the stream; none where no segment has a parent

    private FlashTrees(int[] starts, List<int> answers, List<int> prompts, List<int> answerStarts, List<int> promptStarts)
    {
        (_answers, _prompts) = (answers.ToArray(), prompts.ToArray());
        (_segments, _answerEnds, _promptEnds) = (new(starts), new([.. answerStarts]), new([.. promptStarts]));
    }

    /// <summary>Sequences behind one another.</summary>
    /// <param name="starts">Where each begins, and the end of the last.</param>
    private sealed class Ends(int[] starts)
    {
        /// <summary>Where each begins, and the end of the last.</summary>
        public Mirrored<int> Starts { get; } = starts;

        public int Count => Starts.Count - 1;

        /// <summary>Tokens of the longest one.</summary>
        public int Longest { get; } = starts.Skip(1).Zip(starts, (end, start) => end - start).DefaultIfEmpty().Max();

        /// <summary>The place of each token where all sequences are as long as the longest.</summary>
        public Mirrored<int> Places => field ??= Enumerable.Range(0, Count).SelectMany(sequence =>
            Enumerable.Range(sequence * Longest, Starts.Host[sequence + 1] - Starts.Host[sequence])).ToArray();
    }

    /// <summary>Takes attention of some tokens over more keys into an output and its log-sum-exp.</summary>
    /// <param name="more">[answers, H·V].</param>
    /// <param name="moreLogSumExp">[H, answers].</param>
    /// <param name="rows">Which tokens; [answers].</param>
    internal delegate void Merging(in AttentionShape shape, Tensor output, Tensor logSumExp, Tensor more, Tensor moreLogSumExp, Tensor rows);

    /// <summary>Whether no segment continues another.</summary>
    public bool IsFlat => _answers.Count == 0;

    /// <summary>Null where segments are more than prompts with answers, or the answers of a prompt are not side by side.</summary>
    public static FlashTrees? Of(SegmentTable table)
    {
        if (!ReferenceEquals(table.Keys, table.Segments) || table.Segments.Any(segment => segment.Depth > 2))
            return null;
        var order = table.Segments.OrderBy(segment => segment.Start).ToArray();
        var (answers, prompts, answerStarts, promptStarts) = (new List<int>(), new List<int>(), new List<int> { 0 }, new List<int> { 0 });
        var seen = new HashSet<int>();
        var last = -1;
        foreach (var segment in order)
        {
            if (segment.Depth == 1)
                continue;
            var prompt = table.Chains[segment.Chain];
            if (prompt != last)
            {
                if (!seen.Add(prompt))
                    return null;
                var rows = table.Segments[prompt];
                prompts.AddRange(Enumerable.Range(rows.Start, rows.Length));
                promptStarts.Add(prompts.Count);
                answerStarts.Add(answers.Count);
                last = prompt;
            }
            answers.AddRange(Enumerable.Range(segment.Start, segment.Length));
            answerStarts[^1] = answers.Count;
        }
        return new([.. order.Select(segment => segment.Start), table.Tokens], answers, prompts, answerStarts, promptStarts);
    }

    /// <summary>Writes output and log-sum-exp.</summary>
    public void Forward(FlashAttention attention, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output, Tensor logSumExp,
        Merging merge)
    {
        using var scope = TensorScope.Enter();
        var device = query.Device;
        var (keys, values) = KeysAndValues(shape, keyValue);
        var own = attention.Forward(Heads(query, shape.Heads), keys, values, Own(device), Mask(shape, causal: true));
        output.CopyFromNonBlocking(Rows(own.Output));
        logSumExp.CopyFromNonBlocking(Dense(own.LogSumExp, _segments));
        if (IsFlat)
            return;
        var (rows, promptRows) = (_answers.On(device), _prompts.On(device));
        var (promptKeys, promptValues) = KeysAndValues(shape, keyValue.IndexSelect(0, promptRows));
        var more = attention.Forward(Heads(query.IndexSelect(0, rows), shape.Heads), promptKeys, promptValues, Answers(device),
            Mask(shape, causal: false));
        merge(shape, output, logSumExp, Rows(more.Output), Dense(more.LogSumExp, _answerEnds).Contiguous(), rows);
    }

    /// <summary>Writes the gradients.</summary>
    public void Backward(FlashAttention attention, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output, Tensor logSumExp,
        Tensor dy, Tensor dquery, Tensor dkeyValue)
    {
        using var scope = TensorScope.Enter();
        var device = query.Device;
        // without dropout nobody reads the state of its random numbers
        var (none, second) = (Tensor.Zeros(DType.Int64, device, 2), Tensor.Zeros(DType.Int64, device));
        var (keys, values) = KeysAndValues(shape, keyValue);
        var own = attention.Backward(Heads(dy, shape.Heads), Heads(query, shape.Heads), keys, values,
            new(Heads(output, shape.Heads), Known(attention, logSumExp, _segments), none, second), Own(device), Mask(shape, causal: true));
        dquery.CopyFromNonBlocking(Rows(own.Query));
        dkeyValue.CopyFromNonBlocking(Tensor.Cat([Rows(own.Key), Rows(own.Value)], 1));
        if (IsFlat)
            return;
        var (rows, promptRows) = (_answers.On(device), _prompts.On(device));
        var (promptKeys, promptValues) = KeysAndValues(shape, keyValue.IndexSelect(0, promptRows));
        var more = attention.Backward(Heads(dy.IndexSelect(0, rows), shape.Heads), Heads(query.IndexSelect(0, rows), shape.Heads), promptKeys,
            promptValues, new(Heads(output.IndexSelect(0, rows), shape.Heads),
                Known(attention, logSumExp.IndexSelect(1, rows), _answerEnds), none, second), Answers(device), Mask(shape, causal: false));
        dquery.IndexAddInPlace(0, rows, Rows(more.Query));
        dkeyValue.IndexAddInPlace(0, promptRows, Tensor.Cat([Rows(more.Key), Rows(more.Value)], 1));
    }

    private FlashSequences Own(Device device) =>
        new(_segments.Starts.On(device), _segments.Starts.On(device), _segments.Longest, _segments.Longest);

    private FlashSequences Answers(Device device) =>
        new(_answerEnds.Starts.On(device), _promptEnds.Starts.On(device), _answerEnds.Longest, _promptEnds.Longest);

    /// <summary>The log-sum-exp as [H, N]: older releases give it as [sequences, H, longest].</summary>
    private static Tensor Dense(Tensor logSumExp, Ends ends) => logSumExp.Dims == 2 ? logSumExp
        : logSumExp.Permute(1, 0, 2).Reshape(logSumExp.Size(1), logSumExp.Size(0) * logSumExp.Size(2))
            .IndexSelect(1, ends.Places.On(logSumExp.Device));

    /// <summary>The same as the release at hand wants it back.</summary>
    private static Tensor Known(FlashAttention attention, Tensor logSumExp, Ends ends)
    {
        if (!attention.IsPadded)
            return logSumExp;
        var padded = Tensor.Zeros(logSumExp.DType, logSumExp.Device, logSumExp.Size(0), (long)ends.Count * ends.Longest);
        padded.IndexAddInPlace(1, ends.Places.On(logSumExp.Device), logSumExp);
        return padded.View(logSumExp.Size(0), ends.Count, ends.Longest).Permute(1, 0, 2).Contiguous();
    }

    // The window counts the token itself, flash attention those before it.
    private static FlashMask Mask(in AttentionShape shape, bool causal) =>
        new(causal, shape.Scale, shape.Window > 0 && causal ? shape.Window - 1 : null);

    private static Tensor Heads(Tensor rows, int heads) => rows.View(rows.Size(0), heads, rows.Size(1) / heads);

    private static Tensor Rows(Tensor heads) => heads.Reshape(heads.Size(0), heads.Size(1) * heads.Size(2));

    private static (Tensor Keys, Tensor Values) KeysAndValues(in AttentionShape shape, Tensor keyValue)
    {
        var width = shape.KeyHeads * shape.HeadSize;
        return (Heads(keyValue.Narrow(1, 0, width), shape.KeyHeads), Heads(keyValue.Narrow(1, width, width), shape.KeyHeads));
    }
}
