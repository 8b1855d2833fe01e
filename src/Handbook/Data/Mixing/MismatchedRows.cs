namespace Handbook.Data;

/// <summary>Rows of one answer, each with the answer to another prompt beside it, from which KTO estimates its reference point.</summary>
/// <remarks>
/// Within blocks of rows, each prompt takes the answer of the row before it, and the first that of the last; a block of one row takes its own.
/// Kawin Ethayarajh et al. 2024, arXiv:2402.01306, §4.1: z is estimated from pairs that do not belong together.
/// </remarks>
public sealed class MismatchedRows : ITokenRows
{
    internal const string WhyTwo = "it estimates how far the policy has moved from prompts with the answers of other rows of the batch, and a batch of one has no other";

    private readonly ITokenRows _rows;
    private readonly int _blockSize;
    private readonly int? _maxLength;

    /// <param name="rows">Rows of one prompt and one answer, in the order of the training set.</param>
    /// <param name="blockSize">Rows in a block: those of a step, or of a micro-batch where an older release is to be reproduced.</param>
    /// <param name="maxLength">Most tokens of a prompt with its mismatched answer, which is cut at its end; null cuts nothing.</param>
    public MismatchedRows(ITokenRows rows, int blockSize, int? maxLength = null)
    {
        if (blockSize < 2)
            throw new InputException($"KTO's mismatched pairs come from blocks of {blockSize} row, but need at least 2", WhyTwo,
                "set per_device_train_batch_size: 8, or loss_type: apo_zero_unpaired, which needs no estimate");
        (_rows, _blockSize, _maxLength) = (rows, blockSize, maxLength);
    }

    public int Count => _rows.Count;

    public int Length(int row) => _rows.Length(row) + Answer(row, _rows.Read(row)).Ids.Length;

    public int Characters(int row) => _rows.Characters(row);

    public TokenRow Read(int row)
    {
        var own = _rows.Read(row);
        return own with { Segments = [.. own.Segments, Answer(row, own)] };
    }

    private TokenSegment Answer(int row, TokenRow own)
    {
        var start = row - (row % _blockSize);
        var other = row > start ? row - 1 : Math.Min(start + _blockSize, _rows.Count) - 1;
        var answer = _rows.Read(other).Segments[^1];
        // Without a prompt there is a root of one token at least before it, as for the row's own answer.
        var prompt = own.Segments[0].Role == SegmentRole.Prompt ? own.Segments[0].Ids.Length : 0;
        var length = _maxLength is { } most ? Math.Clamp(most - prompt, 1, answer.Ids.Length) : answer.Ids.Length;
        return new(SegmentRole.Mismatched, prompt > 0 ? 0 : -1, answer.Ids[..length], answer.Loss[..length]);
    }
}
