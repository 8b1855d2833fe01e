using System.Text.Json;

namespace Handbook.Data.Formats;

/// <summary>The fields of a turn that say whether it is learnt: 1 or true where it is, 0 or false where it is not.</summary>
internal static class TurnWeight
{
    private static readonly string[] s_names = ["weight", "loss_weight", "train", "training", "loss"];

    /// <summary>Whether a field of this name may be such a weight.</summary>
    public static bool IsName(string field) => s_names.Contains(field);

    /// <summary>The first field that takes the turn out of what is learnt; null where the turn is learnt.</summary>
    /// <param name="turn">An object with role and content.</param>
    /// <param name="place">Where it stands, for the message.</param>
    /// <exception cref="UnusableRowException">A weight is neither 0 nor 1.</exception>
    public static string? Silencing(JsonElement turn, string place)
    {
        foreach (var name in s_names)
            if (turn.TryGetProperty(name, out var value) && value.ValueKind is not JsonValueKind.Null)
                switch (value.ValueKind)
                {
                    case JsonValueKind.False:
                    case JsonValueKind.Number when value.TryGetDouble(out var number) && number == 0:
                        return name;
                    case JsonValueKind.True:
                    case JsonValueKind.Number when value.TryGetDouble(out var number) && number == 1:
                        break;
                    case var _ when !name.EndsWith("weight", StringComparison.Ordinal):
                        break;          // a word of the data's own
                    default:
                        throw new UnusableRowException("weight is neither 0 nor 1",
                            $"{place} has the {name} {value.GetRawText()}")
                        { Fix = "write 1 for turns to learn and 0 for the others" };
                }
        return null;
    }

    /// <summary>Says that turns ask to be learnt in another measure than whole, where answers are learnt whole; null where none
    /// does.</summary>
    public static string? Remark(IEnumerable<JsonElement> turns) =>
        turns.Select(Asking).FirstOrDefault(name => name is not null) is { } weight
            ? $"the field {weight} of turns is not read: an answer is learnt as a whole" : null;

    /// <summary>Whether a column of this name may be a weight of its row.</summary>
    public static bool IsOfRow(string column) => column is "weight" or "loss_weight" or "sample_weight" or "row_weight";

    /// <summary>Whether a field asks that what it belongs to is learnt in another measure than whole.</summary>
    public static bool Asks(JsonElement of, string name) => of.TryGetProperty(name, out var value)
        && (value.ValueKind == JsonValueKind.False || value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number)
            && (number == 0 || number != 1 && name.EndsWith("weight", StringComparison.Ordinal)));

    /// <summary>The first field by which a turn asks for that; null where none does.</summary>
    private static string? Asking(JsonElement turn) => s_names.FirstOrDefault(name => Asks(turn, name));
}
