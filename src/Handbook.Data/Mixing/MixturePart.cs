using Handbook.Base;
using Handbook.Data.Cache;
using Handbook.Data.Sources;

namespace Handbook.Data.Mixing;

/// <summary>One split of one data set of a mixture.</summary>
/// <param name="Spec">With the split that is meant.</param>
/// <param name="IsTest">Whether its rows are held out.</param>
internal sealed record MixturePart(DatasetSpec Spec, bool IsTest)
{
    public string Name => $"{Spec.Id}{(Spec.Config is null ? "" : $" ({Spec.Config})")} [{Spec.Split}]";

    /// <summary>The parts of a mixture, in the order in which they are joined.</summary>
    public static List<MixturePart> Of(MixtureSpec mixture, bool evaluates, string? recipeFolder)
    {
        foreach (var spec in mixture.Datasets)
            if (spec.Weight is not (>= 0 and < double.PositiveInfinity))
                throw new InputException($"{spec.Id}: its share is {spec.Weight}, but must be 0 or greater",
                    why: "dataset fractions cannot be negative", fix: "use 1.0 for all rows once, 2.0 for all rows twice")
                { Key = "weight" };
        var parts = new List<MixturePart>();
        switch (mixture.Dialect)
        {
            case MixtureDialect.Mixer:
                foreach (var spec in mixture.Datasets)
                    foreach (var split in mixture.Splits)
                    {
                        var isTrain = split.Contains("train", StringComparison.Ordinal);
                        if (!isTrain && !split.Contains("test", StringComparison.Ordinal))
                            throw new InputException($"dataset_splits: \"{split}\" is not recognised as one of test or train",
                                fix: "name splits such as train_sft and test_sft");
                        if (isTrain || evaluates)
                            parts.Add(new(spec with { Split = split }, !isTrain));
                    }
                break;
            case MixtureDialect.Mixture:
                parts.AddRange(mixture.Datasets.Select(spec => new MixturePart(spec, false)));
                break;
            default:
                parts.Add(new(mixture.Datasets[0] with { Split = mixture.TrainSplit }, false));
                if (evaluates)
                    parts.Add(new(mixture.Datasets[0] with { Split = mixture.TestSplit }, true));
                break;
        }
        if (!parts.Exists(part => !part.IsTest))
            throw new InputException($"no training rows: none of the splits {string.Join(", ", mixture.Splits)} is a train split",
                fix: "add one to dataset_splits, e.g. train");
        foreach (var test in parts.Where(part => part.IsTest))
            RequireHeldOut(test, parts, recipeFolder);
        return parts;
    }

    // A file has one split, whatever it is called: without slices, the rows held out would be those trained on.
    private static void RequireHeldOut(MixturePart test, List<MixturePart> parts, string? recipeFolder)
    {
        if (IsWhole(test.Spec.Split) && DatasetPath.TryFind(test.Spec, recipeFolder) is { } path && File.Exists(path)
            && parts.Exists(part =>
                !part.IsTest && part.Spec.Id == test.Spec.Id && part.Spec.Split != test.Spec.Split && IsWhole(part.Spec.Split)))
            throw new InputException($"{test.Spec.Id}: is one file, so it has no split \"{test.Spec.Split}\" of rows to hold out",
                why: "the rows trained on would be those evaluated on",
                fix: "hold out a part with dataset_train_split: train[:90%] and dataset_test_split: train[90%:], or name a folder with "
                    + "train.jsonl and test.jsonl");
    }

    private static bool IsWhole(string split) => SplitSlice.ParseAll(split).All(slice => slice.IsWhole);

    /// <summary>The rows of the part that are needed, so that only they are tokenised.</summary>
    public RowSelection Select(MixtureSpec mixture, Func<long> count)
    {
        if (IsTest || Spec.Weight >= 1)
            return RowSelection.All;
        var rows = checked((int)count());
        if (mixture.Dialect != MixtureDialect.Mixture)
        {
            var kept = RowOrder.Share(rows, Spec.Weight);
            return new($"first {kept}", row => row < kept);
        }
        var wanted = new System.Collections.BitArray(rows);
        foreach (var row in RowOrder.Taken(rows, Spec.Weight, mixture.Seed))
            wanted[row] = true;
        return new($"{Spec.Weight:R} of {rows} with seed {mixture.Seed}", row => wanted[(int)row]);
    }

    /// <summary>The order of the training rows, and of the held-out rows where there are any.</summary>
    /// <param name="counts">Rows of each part, usable or not.</param>
    public static (RowRef[] Train, RowRef[]? Test) Order(MixtureSpec mixture, List<MixturePart> parts, int[] counts)
    {
        switch (mixture.Dialect)
        {
            case MixtureDialect.Mixer:
                return (RowOrder.Mixer(counts, Weights(isTest: false), mixture.Seed),
                    parts.Exists(part => part.IsTest) ? RowOrder.Mixer(counts, Weights(isTest: true), mixture.Seed) : null);
            case MixtureDialect.Mixture:
                var rows = RowOrder.Mixture(counts, [.. parts.Select(part => part.Spec.Weight)], mixture.Seed);
                if (mixture.TestSplitSize is not { } size)
                    return (rows, null);
                return RowOrder.Split(rows, size, mixture.Seed);
            default:
                return (InOrder(0), parts.Count > 1 ? InOrder(1) : null);
        }

        // Parts of the other kind take part with no rows, so that numbers of parts stay what they are.
        double[] Weights(bool isTest) => [.. parts.Select(part => part.IsTest != isTest ? 0 : isTest ? 1 : part.Spec.Weight)];

        RowRef[] InOrder(int part) => [.. RowOrder.InOrder(part, counts[part], parts[part].IsTest ? 1 : parts[part].Spec.Weight)];
    }
}
