using Handbook.Base;
using Handbook.Data.Cache;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Text.Tokenizers;

namespace Handbook.Data;

/// <summary>Whether a mixture has rows enough for what is asked of it, found out from as few rows as tell.</summary>
internal static class RowCounts
{
    /// <summary>Stops where nothing is left to train on.</summary>
    /// <param name="sources">The parts that are trained on, each with its rows.</param>
    /// <exception cref="InputException">The weights take no row, or the test split takes all of them.</exception>
    public static void RequireTraining(MixtureSpec mixture, IReadOnlyList<(MixturePart Part, IRowSource Rows)> sources)
    {
        var size = mixture.Dialect == MixtureDialect.Mixture ? mixture.TestSplitSize : null;
        // the least number of rows of which the test split leaves one
        var wanted = size switch { null => 1, >= 1 and var rows => rows + 1, var share => Math.Floor(1 / (1 - share.Value)) + 1 };
        long taken = 0, seen = 0;
        foreach (var (part, rows) in sources)
        {
            if (part.Spec.Weight <= 0)
                continue;
            var count = rows.Read().Take((int)Math.Min(int.MaxValue, Math.Ceiling(wanted / part.Spec.Weight) + 1)).Count();
            (seen, taken) = (seen + count, taken + RowOrder.Share(count, part.Spec.Weight));
            if (taken >= wanted)
                return;
        }
        if (taken == 0 && seen > 0)
            throw new InputException($"{string.Join(", ", sources.Select(source => source.Part.Name))}: of {seen} rows the weights take "
                + "none, so there is nothing to train on",
                fix: mixture.Dialect == MixtureDialect.Mixer ? "raise the shares in dataset_mixer" : "raise `weight` in dataset_mixture");
        if (size is { } held && taken > 0)
            RowOrder.HeldOut((int)taken, held);
    }

    /// <summary>What packing makes of rows that are few: says where they fill one packed row or less.</summary>
    /// <param name="sources">The parts that are trained on, each with its rows and what tokenises them.</param>
    /// <returns>A warning; null where there is more than one packed row, or rows are not packed.</returns>
    /// <exception cref="InputException">The rows do not fill the one row that this packing needs.</exception>
    public static string? OnePackedRow(TrainingDataOptions options,
        IReadOnlyList<(MixturePart Part, IRowSource Rows, IRowTokenizer Tokenizer)> sources)
    {
        if (options.Packing == PackingKind.None)
            return null;
        var most = (long)options.BlockSize * (options.Packing == PackingKind.ConstantLength ? 2 : 1);
        long tokens = 0, rows = 0;
        foreach (var (_, source, tokenizer) in sources)
            foreach (var row in source.Read().Where(row => row.Problem is null))
                foreach (var made in tokenizer.Tokenize(row.Value, out _, out _))
                {
                    (tokens, rows) = (tokens + made.TokenCount, rows + 1);
                    if (tokens > most || tokens == most && options.Packing == PackingKind.ConstantLength)
                        return null;
                }
        if (options.Packing == PackingKind.ConstantLength && tokens < options.BlockSize && rows > 0)
            throw Packing.TooFew(tokens, options.BlockSize);
        return OnePackedRow(rows, options.BlockSize);
    }

    /// <summary>What a run is told of its rows where all of them became one; null where there was one from the start.</summary>
    public static string? OnePackedRow(long rows, int blockSize) => rows > 1
        ? $"all {rows:N0} rows fit into one packed row of max_length {blockSize}, so that an epoch is one step on that row, whatever "
            + "per_device_train_batch_size says; "
            + "set packing: false, or a smaller max_length"
        : null;
}
