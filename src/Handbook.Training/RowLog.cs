using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base.Files;

namespace Handbook.Training;

/// <summary>A file of rows in the run folder, one JSON object a line, each with the step it belongs to.</summary>
internal sealed class RowLog : IDisposable
{
    private static readonly JsonSerializerOptions s_json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly StreamWriter _file;

    /// <param name="path">The file; what an earlier start wrote of later steps is dropped.</param>
    /// <param name="firstStep">Rows of this step and later ones are dropped.</param>
    public RowLog(string path, int firstStep)
    {
        var kept = firstStep > 0 && File.Exists(path) ? File.ReadLines(path).Where(line => StepOf(line) < firstStep).ToArray() : [];
        WholeFile.WriteText(path, string.Concat(kept.Select(line => line + "\n")));
        _file = new StreamWriter(path, append: true) { NewLine = "\n" };
    }

    /// <summary>Adds a row; it is in the file when this returns.</summary>
    public void Add(JsonObject row)
    {
        _file.WriteLine(row.ToJsonString(s_json));
        _file.Flush();
    }

    // A line that was cut off when the machine went down belongs to no step.
    private static int StepOf(string line)
    {
        try
        {
            return JsonNode.Parse(line)?["step"]?.GetValue<int>() ?? int.MaxValue;
        }
        catch (Exception problem) when (problem is JsonException or InvalidOperationException or FormatException)
        {
            return int.MaxValue;
        }
    }

    public void Dispose() => _file.Dispose();
}
