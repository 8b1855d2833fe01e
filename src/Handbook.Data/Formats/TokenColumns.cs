using System.Text.Json;

namespace Handbook.Data.Formats;

/// <summary>Reads rows that were tokenised elsewhere: the tokens, and what beside them says which carry loss.</summary>
/// <remarks>
/// A token carries loss where every column that the row has says so: <c>labels</c> (−100 for none), <c>completion_mask</c> and
/// <c>assistant_masks</c> (1 for loss); <c>completion_only_loss: false</c> leaves <c>completion_mask</c> out. Tokens outside of
/// <c>attention_mask</c> are padding, and are left out.
/// </remarks>
internal static class TokenColumns
{
    private const int NoLoss = -100;

    /// <summary>The tokens of a row.</summary>
    /// <exception cref="UnusableRowException">A column is of another length, or does not say what it is there for.</exception>
    public static TokensExample Read(RowReader reader, JsonElement row)
    {
        var ids = Ints(reader, row, "input_ids")!;
        var loss = new byte[ids.Length];
        loss.AsSpan().Fill(1);
        if (Ints(reader, row, "labels", ids.Length) is { } labels)
            for (var i = 0; i < ids.Length; i++)
                loss[i] = labels[i] == NoLoss ? (byte)0 : labels[i] == ids[i] ? loss[i]
                    : throw new UnusableRowException("labels are other tokens than input_ids",
                        $"at place {i} labels has {labels[i]}, and input_ids {ids[i]}")
                    { Fix = "give labels as input_ids, with -100 for tokens without loss: they are shifted by one place while training" };
        Mask("assistant_masks", loss);
        var withPrompts = loss.ToArray();
        Mask("completion_mask", loss);
        if (Ints(reader, row, "attention_mask", ids.Length) is not { } seen)
            return new(ids, loss, withPrompts);
        var (start, end) = (Array.IndexOf(seen, 1), Array.LastIndexOf(seen, 1) + 1);
        if (start < 0)
            throw new UnusableRowException("empty", "attention_mask leaves out every token");
        if (Array.IndexOf(seen, 0, start, end - start) is >= 0 and var hole)
            throw new UnusableRowException("attention_mask has a hole",
                $"the token at place {hole} is left out, and others behind it are not")
            {
                Fix =
                "give the tokens of a row without padding between them"
            };
        return new(ids[start..end], loss[start..end], withPrompts[start..end]);

        void Mask(string name, byte[] loss)
        {
            if (Ints(reader, row, name, ids.Length) is { } mask)
                for (var i = 0; i < ids.Length; i++)
                    loss[i] &= mask[i] is 0 or 1 ? (byte)mask[i]
                        : throw new UnusableRowException("mask is neither 0 nor 1", $"{name} has {mask[i]} at place {i}");
        }
    }

    /// <summary>A column of whole numbers, or of true and false; null where the row has it not.</summary>
    private static int[]? Ints(RowReader reader, JsonElement row, string name, int? length = null)
    {
        if (length is not null && reader.Column(row, name) is null)
            return null;
        var list = reader.Required(row, name);
        if (list.ValueKind != JsonValueKind.Array)
            throw reader.WrongType(name, list);
        int[] numbers = [.. list.EnumerateArray().Select(item => item.ValueKind switch
        {
            JsonValueKind.True => 1,
            JsonValueKind.False => 0,
            JsonValueKind.Number when item.TryGetInt32(out var number) => number,
            JsonValueKind.Number => throw new UnusableRowException("wrong type", $"{name} holds {item.GetRawText()}, which is no token"),
            _ => throw reader.WrongType(name, item),
        })];
        return length is not { } wanted || numbers.Length == wanted ? numbers
            : throw new UnusableRowException("wrong type", $"{name} has {numbers.Length} entries, but input_ids {wanted}");
    }
}
