using Handbook.Recipes;
using Handbook.Training.Plans;

namespace Handbook.Migration;

/// <summary>One setting of another trainer, as it was written.</summary>
/// <param name="Name">Its name there.</param>
/// <param name="Value">What it is set to.</param>
/// <param name="Line">The line that it stands in, from 1.</param>
internal sealed record ForeignKey(string Name, RecipeNode Value, int Line)
{
    private const int Longest = 60;

    /// <summary>Whether it is set to nothing, as lines are that configurations are copied with.</summary>
    public bool IsEmpty => Value is ScalarNode { IsNull: true };

    /// <summary>The value as one text; null where it is a list, a map or nothing.</summary>
    public string? Text => Value is ScalarNode { IsNull: false } scalar ? scalar.Text : null;

    /// <summary>Its texts: of a list, or of one text with commas.</summary>
    public IReadOnlyList<string> Texts => Value switch
    {
        ListNode list => [.. list.Items.OfType<ScalarNode>().Select(item => item.Text)],
        ScalarNode { IsNull: false } scalar => scalar.Text.Split(',',
            StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries),
        _ => [],
    };

    /// <summary>Whether it is turned on or off; null where it says neither.</summary>
    public bool? Truth => Text is { } text ? RecipeBinder.Truth(text.Trim()) as bool? : null;

    /// <summary>Whether it is turned on.</summary>
    public bool IsOn => Truth == true;

    /// <summary>Whether it is turned off.</summary>
    public bool IsOff => Truth == false;

    /// <summary>The value as a number; null where it is none.</summary>
    public double? Number => Text is { } text ? RecipeBinder.Number(text.Trim()) : null;

    /// <summary>The setting in one short line.</summary>
    public string Shown => $"{Name}: {Said}";

    /// <summary>The value in one short line.</summary>
    public string Said
    {
        get
        {
            var text = Value switch
            {
                ScalarNode scalar => scalar.Text.ReplaceLineEndings(" "),
                _ => YamlWriter.Flow(RecipeBinder.Free(Value)),
            };
            return text.Length > Longest ? text[..Longest] + "…" : text;
        }
    }
}
