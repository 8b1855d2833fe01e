using System.Text.Json;
using Handbook.Data.Formats;
using Handbook.Data.Sources;

namespace Handbook.Data.Inspection;

/// <summary>What a column holds.</summary>
/// <param name="name">Its name.</param>
internal sealed class ColumnTally(string name)
{
    public string Name { get; } = name;

    /// <summary>Rows in which it stands, null or not.</summary>
    public long Rows { get; private set; }

    /// <summary>Rows in which it is null, or an empty text or list.</summary>
    public long Empty { get; private set; }

    /// <summary>Rows by the type of their value.</summary>
    public SortedDictionary<string, long> Kinds { get; } = new(StringComparer.Ordinal);

    /// <summary>The first value that says something.</summary>
    public string Example { get; private set; } = "";

    public void Add(JsonElement value)
    {
        Rows++;
        var isEmpty = value.ValueKind switch
        {
            JsonValueKind.Null => true,
            JsonValueKind.String => value.ValueEquals(""),
            JsonValueKind.Array => value.GetArrayLength() == 0,
            _ => false,
        };
        Empty += isEmpty ? 1 : 0;
        if (value.ValueKind != JsonValueKind.Null)
        {
            var kind = ColumnAdvice.ShapeOf(value) == ColumnShape.Turns ? "a list of turns" : JsonOptions.Name(value.ValueKind);
            Kinds[kind] = Kinds.GetValueOrDefault(kind) + 1;
        }
        if (!isEmpty && Example.Length == 0)
            Example = Excerpt.Of(value.ValueKind == JsonValueKind.String ? value.GetString()! : value.GetRawText());
    }
}
