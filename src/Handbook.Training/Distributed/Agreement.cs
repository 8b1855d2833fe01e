using System.Security.Cryptography;
using System.Text;
using Handbook.Base;

namespace Handbook.Training.Distributed;

/// <summary>What all who train together must have alike, before they begin: recipe, weights, rows, plan.</summary>
internal static class Agreement
{
    /// <summary>Ends the job on every rank where one of them has something else.</summary>
    /// <param name="name">What it is, e.g. <c>recipe</c> or <c>hash of the weights</c>.</param>
    /// <param name="value">This rank's; any length.</param>
    /// <param name="hosts">Hosts by rank, for the message; null where all are on one.</param>
    /// <exception cref="InputException">They differ; names the ranks, and each one's value.</exception>
    public static void Agree(this Workers workers, string name, string value, IReadOnlyList<string>? hosts = null)
    {
        if (workers.Count == 1)
            return;
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{name}\n{value}"));
        if (workers.Gather(hash).All(other => other.AsSpan().SequenceEqual(hash)))
            return;
        // only those who differ pay for the whole text
        var all = workers.Gather(Encoding.UTF8.GetBytes($"{name}\n{value}")).Select(Encoding.UTF8.GetString).ToArray();
        var values = all.Select(text => text[(text.IndexOf('\n', StringComparison.Ordinal) + 1)..]).ToArray();
        if (all.Select(text => text.Split('\n')[0]).Distinct().Count() > 1)
        {
            (name, values) = ("what is compared", [.. all.Select(text => text.Split('\n')[0])]);
        }
        var kinds = values.Select((text, rank) => (Text: text, Rank: rank)).GroupBy(each => each.Text)
            .OrderByDescending(kind => kind.Count()).ThenBy(kind => kind.First().Rank).ToArray();
        var usual = kinds[0].Key;
        var message = new StringBuilder($"{name} differs between the ranks");
        foreach (var kind in kinds)
            message.Append("\n  ").Append(Ranks([.. kind.Select(each => each.Rank)], hosts)).Append(": ")
                .Append(Difference(kind.Key, kind.Key == usual ? kinds[1].Key : usual));
        throw new InputException(message.ToString(), why: "all ranks train one model, on parts of the same rows",
            fix: "give every rank the same recipe, files and version of the program");
    }

    private static string Ranks(int[] ranks, IReadOnlyList<string>? hosts)
    {
        var named = hosts is null ? "" : $" on {string.Join(", ", ranks.Select(rank => hosts[rank]).Distinct().Take(4))}";
        var numbers = ranks.Length <= 8 ? string.Join(", ", ranks) : $"{string.Join(", ", ranks[..8])} and {ranks.Length - 8} more";
        return $"rank{(ranks.Length > 1 ? "s" : "")} {numbers}{named}";
    }

    // The first line that the other does not have at the same place; a short text is shown whole.
    private static string Difference(string text, string other)
    {
        const int Shown = 200;
        if (!text.Contains('\n', StringComparison.Ordinal) && !other.Contains('\n', StringComparison.Ordinal) && text.Length <= Shown)
            return text.Length == 0 ? "(nothing)" : text;
        var (mine, theirs) = (text.Split('\n'), other.Split('\n'));
        var line = 0;
        while (line < mine.Length && line < theirs.Length && mine[line] == theirs[line])
            line++;
        if (line == mine.Length)
            return $"ends after line {line}";
        var shown = mine[line].Length > Shown ? mine[line][..Shown] + "…" : mine[line];
        return $"line {line + 1}: {shown}";
    }
}
