using Handbook.Data;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Grpo;

namespace Handbook.Training.Scale;

/// <summary>What a run will read, known from its rows before anything is loaded that computes.</summary>
internal sealed record RowForecast
{
    /// <summary>Rows to train on.</summary>
    public required int Rows { get; init; }

    /// <summary>Optimiser steps of the whole run.</summary>
    public required int Steps { get; init; }

    /// <summary>Passes over the rows, in parts.</summary>
    public required double Epochs { get; init; }

    /// <summary>Tokens of all steps.</summary>
    public required long Tokens { get; init; }

    /// <summary>SHA-256 (hex) of the numbers of the rows of all steps, in their order, 4 bytes each, little-endian.</summary>
    public required string Order { get; init; }

    /// <summary>The most that goes through the network at once on one process.</summary>
    public required PassSize Largest { get; init; }

    /// <summary>Tokens of the longest row.</summary>
    public required int LongestRow { get; init; }

    /// <summary>How often one process goes through the network in a step, on average.</summary>
    public required double Passes { get; init; }

    /// <summary>How many processes, or groups of them, share the rows out.</summary>
    public required int Processes { get; init; }

    /// <summary>Tokens of one process in a step, on average.</summary>
    public double StepTokens => Tokens / (double)Steps / Processes;

    /// <summary>Tokens of the longest prompt, where its answers are still to be written; 0 otherwise.</summary>
    public int LongestPrompt { get; init; }

    /// <param name="rows">The rows.</param>
    /// <param name="plan">Which of them belong to which step.</param>
    /// <param name="maxTokens">Most tokens of a bin; a longer row has a bin for itself.</param>
    /// <param name="processes">How many processes, or groups of them, share the rows out.</param>
    /// <param name="written">The answers that steps write to the rows, which are prompts; each is taken to become as long as it may. null where
    /// the rows hold what is learnt.</param>
    /// <param name="cancel">Stops reading.</param>
    public static RowForecast Of(ITokenRows rows, StepPlan plan, int maxTokens, int processes, WrittenAnswers? written = null,
        CancellationToken cancel = default)
    {
        var longest = Enumerable.Range(0, rows.Count).Max(rows.Length);
        var unwritten = written is { } answers ? new UnwrittenAnswers(rows, answers) : null;
        var borders = written is null ? Borders(rows) : [];
        using var order = new RowOrderHash();
        var (tokens, bins, epochs) = (0L, 0L, 0.0);
        var largest = new PassSize();
        for (var step = 0; step < plan.TotalSteps; step++)
        {
            cancel.ThrowIfCancellationRequested();
            var own = plan[step];
            int[] all = [.. own.MicroBatches.SelectMany(batch => batch)];
            order.Add(all);
            // answers that are too many for one bin are cut, as in training, and know of their borders
            var parts = unwritten is null ? null : new GroupParts(unwritten, all, maxTokens);
            var (laid, numbers) = (parts ?? rows, parts?.Of(all) ?? all);
            var lengths = Array.ConvertAll(numbers, laid.Length);
            tokens += parts is null ? all.Sum(row => (long)borders[row]) : 0;
            // Shares come out even, so that the bins of one process hold no more than its share.
            var share = (int)Math.Min(maxTokens, Math.Max(lengths.Max(), lengths.Sum(length => (long)length) / processes));
            foreach (var bin in Packing.Bins(lengths, share))
            {
                var size = bin.Sum(at => (long)lengths[at]);
                (tokens, bins) = (tokens + size, bins + 1);
                if (size > largest.Tokens)
                    largest = new(size, bin.Sum(at => Predicted(laid.Read(numbers[at]))));
            }
            epochs = own.EpochAfter;
        }
        return new()
        {
            Rows = rows.Count,
            LongestRow = written is { } one ? longest + one.Length : longest,
            LongestPrompt = written is null ? 0 : longest,
            Steps = plan.TotalSteps,
            Epochs = epochs,
            Tokens = tokens,
            Order = order.Finish(),
            Largest = largest,
            Passes = bins / (double)plan.TotalSteps / processes,
            Processes = processes,
        };
    }

    /// <summary>By how much more tokens of each row go through the network than it has: its answers begin with the last token of the prompt,
    /// which the prompt then ends without.</summary>
    private static int[] Borders(ITokenRows rows)
    {
        var borders = new int[rows.Count];
        if (rows.Count == 0 || rows.Read(0).Segments.All(segment => segment.Parent < 0))
            return borders;             // texts: none has an answer apart
        for (var i = 0; i < borders.Length; i++)
        {
            var segments = rows.Read(i).Segments;
            borders[i] = segments.Count(segment => segment.Parent >= 0)
                - segments.Where(segment => segment.Parent >= 0).Select(segment => segment.Parent).Distinct().Count();
        }
        return borders;
    }

    private static long Predicted(TokenRow row)
    {
        var predicted = 0L;
        foreach (var segment in row.Segments)
            foreach (var carries in segment.Loss.Span)
                predicted += carries;
        return predicted;
    }
}
