using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Training.Sampling;

namespace Handbook.Evaluation.Judging;

/// <summary>An answer to an instruction, as AlpacaEval's <c>model_outputs.json</c> has it. arXiv:2404.04475.</summary>
/// <param name="Instruction">What was asked.</param>
/// <param name="Output">The answer.</param>
/// <param name="Generator">The model.</param>
/// <param name="Dataset">Where the instruction is from; null where that is not known.</param>
internal sealed record AlpacaOutput(string Instruction, string Output, string Generator, string? Dataset)
{
    /// <exception cref="InputException">The file has another form, or answers of several models.</exception>
    public static IReadOnlyList<AlpacaOutput> Read(string path, string option)
    {
        var outputs = BenchRow.Read(path, option).Select(row => new AlpacaOutput(row.Text("instruction"), row.Text("output"),
            row.TextOrNull("generator") ?? Path.GetFileNameWithoutExtension(path), row.TextOrNull("dataset"))).ToArray();
        string[] names = [.. outputs.Select(output => output.Generator).Distinct()];
        return names.Length == 1 ? outputs : throw new InputException($"{option} {path} holds answers of {names.Length} generators: "
            + string.Join(", ", names.Take(4)), "one model is measured at a time", "put the answers of each into a file of its own");
    }

    /// <summary>Writes what AlpacaEval reads.</summary>
    public static void Write(string path, IEnumerable<AlpacaOutput> outputs) => AlpacaFiles.Write(path, outputs.Select(output => new JsonObject
    {
        ["dataset"] = output.Dataset,
        ["instruction"] = output.Instruction,
        ["output"] = output.Output,
        ["generator"] = output.Generator,
    }));
}

/// <summary>A judged pair, as AlpacaEval's <c>annotations.json</c> has it.</summary>
/// <param name="First">The answer of the model that is compared with.</param>
/// <param name="Second">The answer of the model that is measured.</param>
/// <param name="Annotator">The judge.</param>
/// <param name="Preference">1 where the first is better, 2 where the second is, between them where neither is sure; NaN where the judge
/// gave no verdict.</param>
internal sealed record AlpacaAnnotation(AlpacaOutput First, AlpacaOutput Second, string Annotator, double Preference)
{
    /// <exception cref="InputException">The file has another form.</exception>
    public static IReadOnlyList<AlpacaAnnotation> Read(string path)
    {
        return [.. BenchRow.Read(path, "--annotations").Select(row =>
        {
            var preference = row.Number("preference");
            // An older form has 0 for a tie. Others are no preference, and are left out.
            preference = preference == 0 ? 1.5 : preference is >= 1 and <= 2 ? preference : double.NaN;
            var (asked, dataset) = (row.Text("instruction"), row.TextOrNull("dataset"));
            return new AlpacaAnnotation(new(asked, row.Text("output_1"), row.TextOrNull("generator_1") ?? "the first", dataset),
                new(asked, row.Text("output_2"), row.TextOrNull("generator_2") ?? "the second", dataset),
                row.TextOrNull("annotator") ?? "unknown", preference);
        })];
    }

    /// <summary>Writes what AlpacaEval reads.</summary>
    public static void Write(string path, IEnumerable<AlpacaAnnotation> annotations) => AlpacaFiles.Write(path,
        annotations.Select(annotation => new JsonObject
        {
            ["instruction"] = annotation.First.Instruction,
            ["output_1"] = annotation.First.Output,
            ["generator_1"] = annotation.First.Generator,
            ["dataset"] = annotation.First.Dataset,
            ["output_2"] = annotation.Second.Output,
            ["generator_2"] = annotation.Second.Generator,
            ["annotator"] = annotation.Annotator,
            ["preference"] = double.IsNaN(annotation.Preference) ? null : annotation.Preference,
        }));
}

/// <summary>Files that AlpacaEval reads: one list of objects.</summary>
internal static class AlpacaFiles
{
    /// <summary>Whole or not at all.</summary>
    public static void Write(string path, IEnumerable<JsonObject> rows)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        JsonLines.WriteIndented(path, new JsonArray([.. rows]));
    }
}
