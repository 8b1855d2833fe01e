using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Handbook.Data.Decontamination;

/// <summary>A row that holds a reference text.</summary>
/// <param name="Number">Number of the row in its source, from 0.</param>
/// <param name="Place">Where it stands, for messages.</param>
/// <param name="Where">The column, and the place there.</param>
/// <param name="Shared">What it shares with a reference.</param>
internal sealed record ContaminatedRow(long Number, string Place, string Where, SharedText Shared);

/// <summary>A row that is left out of a run.</summary>
/// <param name="Data">The data set and its split.</param>
/// <param name="IsHeldOut">Whether it would have been held out; otherwise it would have been trained on.</param>
internal sealed record LeftOutRow(string Data, bool IsHeldOut, ContaminatedRow Row);

/// <summary>What comparing a run's rows with reference sets came to.</summary>
/// <param name="Against">The sets in words.</param>
/// <param name="Texts">How many texts were looked for.</param>
/// <param name="Train">Training rows before.</param>
/// <param name="TrainLeftOut">How many of these are left out.</param>
/// <param name="HeldOut">Held-out rows before.</param>
/// <param name="HeldOutLeftOut">How many of these are left out.</param>
/// <param name="Rows">Those rows, each once, however often it is taken.</param>
internal sealed record DecontaminationReport(string Against, int Texts, int Train, int TrainLeftOut, int HeldOut, int HeldOutLeftOut,
    [property: JsonIgnore] IReadOnlyList<LeftOutRow> Rows)
{
    private static readonly JsonSerializerOptions s_readable = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>What a run is told.</summary>
    public string Line => $"decontamination against {Against}: {Share(TrainLeftOut, Train)} training rows"
        + (HeldOut > 0 ? $" and {Share(HeldOutLeftOut, HeldOut)} held-out rows" : "")
        + (TrainLeftOut + HeldOutLeftOut == 0 ? " hold one of the " : " are left out: they hold one of the ")
        + $"{Texts:N0} reference texts";

    /// <summary>The rows as JSON lines.</summary>
    public string ToText()
    {
        var text = new StringBuilder();
        foreach (var (data, isHeldOut, row) in Rows)
            text.Append(JsonSerializer.Serialize(new
            {
                data,
                held_out = isHeldOut,
                row = row.Place,
                text = row.Where,
                reference = row.Shared.Set,
                reference_text = row.Shared.Text,
                shares = row.Shared.Kind,
                excerpt = row.Shared.Excerpt,
            }, s_readable)).Append('\n');
        return text.ToString();
    }

    private static string Share(int some, int all) => $"{some:N0} of {all:N0}{(some > 0 ? $" ({(double)some / all:P2})" : "")}";
}
