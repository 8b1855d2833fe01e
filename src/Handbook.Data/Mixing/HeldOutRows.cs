using Handbook.Base;
using Handbook.Data.Sources;

namespace Handbook.Data.Mixing;

/// <summary>Keeps rows that are held out from being trained on, where one data file is named more than once.</summary>
internal static class HeldOutRows
{
    /// <summary>What a mixture should be known for before its rows are read; null where there is nothing.</summary>
    public static string? Remark(MixtureSpec mixture, IReadOnlyList<MixturePart> parts, string? recipeFolder)
    {
        if (mixture is not { Dialect: MixtureDialect.Mixture, TestSplitSize: not null })
            return null;
        var twice = parts.GroupBy(part => DatasetPath.TryFind(part.Spec, recipeFolder) is { } path ? RealPath.Of(path) : part.Spec.Id)
            .FirstOrDefault(same => same.Count() > 1);
        return twice is null ? null
            : $"note: {twice.First().Spec.Id} is listed {twice.Count()} times in dataset_mixture: rows of it that test_split_size holds "
                + "out are left out of training wherever they stand";
    }

    /// <summary>The training rows without those that are held out as well: the same row of a file of the same content.</summary>
    /// <param name="order">Training and held-out rows.</param>
    /// <param name="sources">What they are numbers of.</param>
    /// <param name="sharesOneFile">Whether slices of one file are looked at, too: they are not where each source has its own slice.</param>
    /// <param name="hashOf">A hash of a file's content.</param>
    /// <param name="left">How many rows were left out.</param>
    public static RowRef[] Without((RowRef[] Train, RowRef[] Test) order, IReadOnlyList<IRowSource> sources, bool sharesOneFile,
        Func<string, string> hashOf, out int left)
    {
        left = 0;
        var hashes = sources.Select(source => source.Files.Select(file => (Path: file, Hash: hashOf(file))).ToArray()).ToArray();
        var places = new Dictionary<int, (string File, long Row)[]>();
        for (var i = 0; i < sources.Count; i++)
            if (hashes.Index().Any(other => other.Index != i
                && other.Item.Any(file => hashes[i].Any(own => own.Hash == file.Hash && (sharesOneFile || own.Path != file.Path)))))
                places[i] = Places(sources[i], hashes[i].DistinctBy(file => file.Path).ToDictionary(file => file.Path, file => file.Hash));
        if (places.Count == 0)
            return order.Train;
        var held = order.Test.Where(row => places.ContainsKey(row.Source)).Select(row => places[row.Source][row.Row]).ToHashSet();
        var kept = order.Train.Where(row => !places.TryGetValue(row.Source, out var known) || !held.Contains(known[row.Row])).ToArray();
        left = order.Train.Length - kept.Length;
        return kept.Length > 0 || left == 0 ? kept
            : throw new InputException("every row to train on is held out as well",
                "an evaluation on rows that were trained on says nothing about others",
                "hold out rows of another file, or a slice: dataset_train_split: train[:90%] and dataset_test_split: train[90%:]");
    }

    /// <summary>The file and the number there of each row of a source.</summary>
    private static (string, long)[] Places(IRowSource source, Dictionary<string, string> hashes) =>
        [.. source.Read().Select(row => (hashes[source.PathOf(row)], row.Row))];
}
