using Handbook.Base;
using Handbook.Data.Tokenizing;

namespace Handbook.Data.Mixing;

/// <summary>Rows of one answer, each with the answer to another prompt beside it, from which KTO estimates its reference point.</summary>
/// <remarks>
/// Within blocks of rows, each prompt takes the answer of the row before it, and the first that of the last; a block of one row takes its
/// own. The answer is taken before it was cut, and cut behind its new prompt by the same rules: a long answer has more room behind a short
/// prompt. Kawin Ethayarajh et al. 2024, arXiv:2402.01306, §4.1: z is estimated from pairs that do not belong together.
/// </remarks>
internal sealed class MismatchedRows : ITokenRows
{
    internal const string WhyTwo = "it estimates how far the policy has moved from prompts with the answers of other rows of the batch, "
        + "and a batch of one has no other";

    private readonly ITokenRows _rows;
    private readonly int _blockSize;
    private readonly AnswerRules? _rules;

    /// <param name="rows">Rows of one prompt and one answer, in the order of the data; one that was cut has its
    /// answer uncut as well.</param>
    /// <param name="blockSize">Rows in a block: those of a training step, or of a training micro-batch where an older release is to be
    /// reproduced; for held-out rows too.</param>
    /// <param name="rules">How the rows were cut; null cuts nothing.</param>
    public MismatchedRows(ITokenRows rows, int blockSize, AnswerRules? rules = null)
    {
        if (blockSize < 2)
            throw new InputException($"KTO's mismatched pairs come from blocks of {blockSize} row, but need at least 2", WhyTwo,
                "set per_device_train_batch_size: 8, or loss_type: apo_zero_unpaired, which needs no estimate");
        (_rows, _blockSize, _rules) = (rows, blockSize, rules);
    }

    public int Count => _rows.Count;

    public int Length(int row) => Read(row).TokenCount;

    public int Characters(int row) => _rows.Characters(row);

    public TokenRow Read(int row)
    {
        var own = _rows.Read(row);
        var segments = own.Segments.Where(segment => segment.Role != SegmentRole.Uncut).ToList();
        // Without a prompt there is a root of one token at least before it, as for the row's own answer.
        var prompt = segments[0].Role == SegmentRole.Prompt ? segments[0].Ids.ToArray() : [];
        // as the last part stands the uncut answer, or one that was not cut
        var uncut = _rows.Read(Other(row)).Segments[^1].Ids.ToArray();
        var answer = _rules?.Mismatched(prompt, uncut) ?? new(SegmentRole.Mismatched, prompt, uncut);
        foreach (var segment in AnswerTree.Build([answer]).Segments)
            if (segment.Role != SegmentRole.Prompt)
                segments.Add(segment with
                {
                    Parent = segment.Parent < 0 ? -1 : answer.Prompt.AsSpan()
                    .SequenceEqual(prompt) ? 0 : segments.Count - 1
                });
            // behind another answer the prompt itself may be cut differently
            else if (!answer.Prompt.AsSpan().SequenceEqual(prompt))
                segments.Add(segment);
        return own with { Segments = segments };
    }

    private int Other(int row)
    {
        var start = row - (row % _blockSize);
        return row > start ? row - 1 : Math.Min(start + _blockSize, _rows.Count) - 1;
    }
}
