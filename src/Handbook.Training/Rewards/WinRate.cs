using System.Text.Json;
using Handbook.Base;

namespace Handbook.Training.Rewards;

/// <summary>How often one model's answers are scored above another's to the same prompts.</summary>
/// <param name="Won">Prompts with the higher score.</param>
/// <param name="Tied">Prompts with the same score, as for the same answer.</param>
public sealed record WinRate(int Won, int Lost, int Tied)
{
    /// <summary>Number of prompts.</summary>
    public int Count => Won + Lost + Tied;

    /// <summary>Share of prompts won; a tie counts half.</summary>
    public double Rate => (Won + 0.5 * Tied) / Count;

    /// <summary>Compares two files of scored rows (<c>handbook score … --output</c>), row by row.</summary>
    /// <exception cref="InputException">A file is no such file, or they answer other prompts.</exception>
    public static WinRate Compare(string ours, string theirs)
    {
        var (mine, others) = (Read(ours), Read(theirs));
        if (mine.Count != others.Count)
            throw new InputException($"{ours} has {mine.Count} scored rows, but {theirs} has {others.Count}",
                why: "a win rate compares answers to the same prompts", fix: "answer and score the same file of prompts with both models");
        int won = 0, lost = 0, tied = 0;
        for (var i = 0; i < mine.Count; i++)
        {
            if (mine[i].Prompt != others[i].Prompt)
                throw new InputException($"{theirs}, row {i + 1}: answers another prompt than row {i + 1} of {ours}",
                    fix: "answer and score the same file of prompts with both models");
            won += mine[i].Score > others[i].Score ? 1 : 0;
            lost += mine[i].Score < others[i].Score ? 1 : 0;
            tied += mine[i].Score == others[i].Score ? 1 : 0;
        }
        return mine.Count > 0 ? new(won, lost, tied) : throw new InputException($"{ours} has no scored row");
    }

    private static List<(string Prompt, double Score)> Read(string file)
    {
        if (!File.Exists(file))
            throw new InputException($"{file} does not exist", fix: $"write it with `handbook score MODEL ANSWERS --output {file}`");
        var rows = new List<(string, double)>();
        var number = 0;
        foreach (var line in File.ReadLines(file))
        {
            number++;
            try
            {
                using var row = JsonDocument.Parse(line);
                if (!row.RootElement.TryGetProperty("score", out var score))
                    throw new InputException($"{file}, row {number}: has no score",
                        fix: "write it with `handbook score MODEL ANSWERS --output FILE`, on rows with a prompt and one answer");
                if (score.ValueKind == JsonValueKind.Number)
                    rows.Add((row.RootElement.TryGetProperty("prompt", out var prompt) ? prompt.GetRawText() : "", score.GetDouble()));
            }
            catch (JsonException problem)
            {
                throw new InputException($"{file}, row {number}: is no JSON: {JsonMistake.Of(problem)}",
                    fix: "write it with `handbook score MODEL ANSWERS --output FILE`", inner: problem);
            }
        }
        return rows;
    }
}
