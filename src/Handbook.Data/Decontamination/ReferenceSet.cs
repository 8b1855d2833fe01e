using Handbook.Base;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;

namespace Handbook.Data.Decontamination;

/// <summary>Texts that must not be trained on.</summary>
/// <param name="Name">The set in words.</param>
/// <param name="Words">Words in the runs that were taken of each; 0 for none.</param>
/// <param name="TooShort">Texts that are not looked for because they are short.</param>
internal sealed record ReferenceSet(string Name, IReadOnlyList<ReferenceText> Texts, int Words, int TooShort)
{
    /// <summary>Reads all sets of a recipe.</summary>
    /// <param name="recipeFolder">The folder beside which data sets are looked up.</param>
    /// <exception cref="InputException">One is not there, or cannot be compared with.</exception>
    public static IReadOnlyList<ReferenceSet> Load(DecontaminationOptions options, string? recipeFolder) =>
        [.. options.Against.Select(entry => Load(entry, options, recipeFolder))];

    /// <summary>Reads one set.</summary>
    /// <inheritdoc cref="Load(DecontaminationOptions, string?)"/>
    public static ReferenceSet Load(ReferenceEntry entry, DecontaminationOptions options, string? recipeFolder)
    {
        if (BuiltInReference.Open(entry.Id) is { } builtIn)
            using (builtIn)
                return Made(FingerprintFile.Read(builtIn, entry.Id), entry, options);
        if (!entry.Id.EndsWith(FingerprintFile.Ending, StringComparison.Ordinal))
            return FromRows(entry, options, recipeFolder);
        var path = DatasetPath.Find(new() { Id = entry.Id }, recipeFolder);
        using var file = File.OpenRead(path);
        return Made(FingerprintFile.Read(file, entry.Id) with { Name = entry.Id }, entry, options);
    }

    /// <summary>What was made before, if it can answer what is asked.</summary>
    private static ReferenceSet Made(ReferenceSet set, ReferenceEntry entry, DecontaminationOptions options)
    {
        var words = options.Ngrams;
        if (entry.Config is not null || entry.Split is not null || entry.Columns is not null || entry.Form != ReferenceForm.Text)
            throw new InputException($"decontaminate: {entry.Id} holds fingerprints, which have no config, split, columns or form",
                fix: $"remove those {(options.OptionPrefix is null ? "keys" : "options")}, or name the data set itself");
        if (words > 0 && set.Words != words)
            throw new InputException($"decontaminate: {entry.Id} has fingerprints of {(set.Words == 0 ? "whole texts alone"
                : $"{set.Words} words in a row")}, but {options.Written("ngrams")} is {words}",
                fix: $"{(options.OptionPrefix is null ? $"set ngrams: {set.Words}" : $"write --ngrams {set.Words}")}, or name the data set itself");
        return set;
    }

    private static ReferenceSet FromRows(ReferenceEntry entry, DecontaminationOptions options, string? recipeFolder)
    {
        var spec = new DatasetSpec { Id = entry.Id, Config = entry.Config };
        if (!string.IsNullOrWhiteSpace(entry.Id) && BuiltInReference.Meant(entry.Id) is { } meant && DatasetPath.TryFind(spec, recipeFolder) is null)
            throw InputException.Absent($"decontaminate: the reference set \"{entry.Id}\" was not found", DatasetPath.Places(spec, recipeFolder),
                fix: $"did you mean {meant}, which is built in? Otherwise check the path");
        spec = spec with { Split = entry.Split ?? string.Join('+', Dataset.SplitsOf(spec, recipeFolder)) };
        var (texts, tooShort, rows) = (new List<ReferenceText>(), 0, 0L);
        var unseen = entry.Columns?.ToHashSet();
        foreach (var row in Dataset.Open(spec, recipeFolder).Read())
        {
            if (row.Problem is { } problem)
            {
                if (problem.Reason == PlainTextFile.BlankLine)
                    continue;
                throw new InputException($"{row.Place}: {problem.Reason}{(problem.Detail.Length > 0 ? $": {problem.Detail}" : "")}",
                    $"{entry.Id} is what rows are compared with: without this one they would not be", "mend or remove the row");
            }
            rows++;
            foreach (var column in row.Value.EnumerateObject())
                unseen?.Remove(column.Name);
            foreach (var (name, text) in entry.Form == ReferenceForm.HumanEval ? HumanEvalTexts.Of(row)
                : RowTexts.Of(row.Value, entry.Columns is { } named ? named.Contains : null).Select(text => ($"{row.Place} {text.Where}", text.Text)))
                if (ReferenceText.Of(name, text, entry.Form == ReferenceForm.HumanEval ? 1 : options.MinLength, options.Ngrams) is { } known)
                    texts.Add(known);
                else
                    tooShort++;
        }
        if (unseen is { Count: > 0 } && rows > 0)
            throw new InputException($"decontaminate: no row of {entry.Name} has the column {string.Join(", ", unseen)}",
                fix: $"correct {options.Written("columns", ofSet: true)}, or leave it out to take every text of a row");
        return texts.Count > 0 ? new(entry.Name, texts, options.Ngrams, tooShort)
            : throw new InputException($"decontaminate: {entry.Name} has no text to compare with ({rows:N0} rows, {tooShort:N0} texts of fewer "
                + $"than {options.MinLength} characters)", "every row would pass", $"name another split or other columns, or lower {options.Written("min_length")}");
    }
}
