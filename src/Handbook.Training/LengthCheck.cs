using Handbook.Base;
using Handbook.Data;
using Handbook.Models;

namespace Handbook.Training;

/// <summary>Whether rows reach positions that the model was not made for. Rotary positions go on beyond them, but the model has never seen
/// such angles.</summary>
internal static class LengthCheck
{
    /// <summary>What the recipe allows, before any row is read; null where no row can be too long.</summary>
    /// <param name="longest">The keys that limit a row, and their tokens; null where none does.</param>
    public static string? Allowed((string Keys, int Length)? longest, DecoderConfig config) =>
        longest is var (keys, length) && length > config.LongestText
            ? $"{keys} is {length}, but the model was made for {config.LongestText:N0} positions (max_position_embeddings): {Beyond(config)}; "
                + (keys.Contains(' ') ? $"lower them to {config.LongestText} together" : $"set {keys}: {config.LongestText} or less")
            : null;

    /// <summary>What the rows are; null where none is too long.</summary>
    /// <exception cref="InputException">There are rows that the model cannot read at all.</exception>
    /// <param name="surveys">Of the sets of rows, with the model's longest text.</param>
    /// <param name="config">The model.</param>
    internal static string? Found(IEnumerable<RowSurvey> surveys, DecoderConfig config)
    {
        var (count, longest) = surveys.Aggregate((Count: 0, Longest: 0),
            (all, survey) => (all.Count + survey.TooLong, Math.Max(all.Longest, survey.Longest)));
        if (count == 0)
            return null;
        var what = $"{count:N0} {(count == 1 ? "row is" : "rows are")} longer than the {config.LongestText:N0} positions that the model "
            + $"was made for (max_position_embeddings), the longest has {longest:N0} tokens";
        return config.Positions == PositionKind.Learned
            ? throw new InputException(what, why: "there is no embedding for the positions beyond",
                fix: $"set max_length: {config.LongestText} or less")
            : $"{what}: {Beyond(config)}; set max_length: {config.LongestText} or less";
    }

    /// <summary>A prompt to be answered; null where it is short enough.</summary>
    public static string? Prompts(IEnumerable<int[]> prompts, DecoderConfig config)
    {
        var lengths = prompts.Select(prompt => prompt.Length).Where(length => length > config.LongestText).ToArray();
        return lengths.Length == 0 || config.Positions == PositionKind.Learned ? null       // the generator refuses those
            : $"{lengths.Length:N0} {(lengths.Length == 1 ? "prompt is" : "prompts are")} longer than the {config.LongestText:N0} "
                + "positions that the model was made for (max_position_embeddings), "
            + $"the longest has {lengths.Max():N0} tokens: answers may be meaningless";
    }

    private static string Beyond(DecoderConfig config) => config.Positions == PositionKind.Learned
        ? "it has no embedding for the others, and a longer row stops the run"
        : "it has never seen the others, and longer rows bring large losses and gradients";
}
