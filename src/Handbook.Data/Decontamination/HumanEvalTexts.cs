using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Sources;

namespace Handbook.Data.Decontamination;

/// <summary>The texts of code problems in the columns of HumanEval: what a function is to do, and how it does it.</summary>
/// <remarks>The rule of the handbook's first revision: the text between the first two marks of three quotes in <c>prompt</c>, the second such
/// text where there are four marks of double quotes, and <c>canonical_solution</c>. Solutions that anybody would write are not looked
/// for.</remarks>
internal static class HumanEvalTexts
{
    private const string Double = "\"\"\"", Single = "'''";

    /// <summary>Solutions that prove nothing. The first revision meant the last one as well, and had it mistyped.</summary>
    private static readonly string[] s_anybodys = ["return x + y", "return len(string)", "return n**2", "return ''.join(strings)"];

    /// <summary>The texts of a row.</summary>
    public static IEnumerable<(string Name, string Text)> Of(SourceRow row)
    {
        var task = row.Value.TryGetProperty("task_id", out var id) && id.ValueKind == JsonValueKind.String ? id.GetString()! : row.Place;
        if (Docstring(Text(row, "prompt"), row.Place).Trim() is { Length: > 0 } described)
            yield return ($"{task} docstring", described);
        if (Text(row, "canonical_solution").Trim() is { Length: > 0 } solution && !s_anybodys.Contains(solution))
            yield return ($"{task} solution", solution);
    }

    private static string Text(SourceRow row, string column) =>
        row.Value.TryGetProperty(column, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()!
            : throw new InputException($"{row.Place}: has no text in the column {column}",
                "form: human_eval reads prompt, a function with its documentation, and canonical_solution",
                "leave form out to take every text of a row, and name the columns with columns: [...]");

    private static string Docstring(string prompt, string place)
    {
        var parts = prompt.Split(Double);
        if (parts.Length == 1)
            parts = prompt.Split(Single) is { Length: 3 } single ? single : [];
        return parts.Length switch
        {
            3 => parts[1],
            5 => parts[3],
            _ => throw new InputException($"{place}: prompt has no documentation between two marks of three quotes",
                "form: human_eval takes what stands between them", "leave form out to take every text of a row"),
        };
    }
}
