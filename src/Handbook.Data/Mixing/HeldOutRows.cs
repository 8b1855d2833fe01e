using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Handbook.Base;
using Handbook.Data.Cache;
using Handbook.Data.Sources;

namespace Handbook.Data.Mixing;

/// <summary>Keeps rows that are held out from being trained on, in whichever file and however often they stand.</summary>
internal static class HeldOutRows
{
    /// <summary>What a mixture should be known for before its rows are read; null where there is nothing.</summary>
    public static string? Remark(MixtureSpec mixture, IReadOnlyList<MixturePart> parts, string? recipeFolder)
    {
        if (mixture is not { Dialect: MixtureDialect.Mixture, TestSplitSize: not null })
            return null;
        var twice = parts.GroupBy(part => DatasetPath.TryFind(part.Spec, recipeFolder) is { } path ? RealPath.Of(path) : part.Spec.Id)
            .FirstOrDefault(same => same.Count() > 1 || same.First().Spec.Weight > 1);
        return twice is null ? null
            : $"note: {twice.First().Spec.Id} is {(twice.Count() > 1 ? $"listed {twice.Count()} times in dataset_mixture"
                : $"taken {twice.First().Spec.Weight} times")}: rows of it that test_split_size holds out are left out of training wherever they stand";
    }

    /// <summary>Whether training rows that are held out as well are left out: where the rows to hold out are drawn here, or a file of theirs is a
    /// training file, too. Splits that a data set publishes apart stay as they are, as the reference takes them.</summary>
    /// <param name="mixture">How data sets are mixed.</param>
    /// <param name="sources">Their rows, and whether these are held out.</param>
    /// <param name="hashOf">A hash of a file's content.</param>
    public static bool Applies(MixtureSpec mixture, IReadOnlyList<(IRowSource Rows, bool IsTest)> sources, Func<string, string> hashOf)
    {
        if (mixture is { Dialect: MixtureDialect.Mixture, TestSplitSize: not null })
            return true;
        var train = sources.Where(source => !source.IsTest).SelectMany(source => source.Rows.Files).Distinct().Select(file => (file, hashOf(file))).ToArray();
        // Slices of one file are apart where each source has its own.
        return sources.Where(source => source.IsTest).SelectMany(source => source.Rows.Files).Distinct().Any(file => train.Any(other =>
            other.Item2 == hashOf(file) && (mixture.Dialect != MixtureDialect.Single || other.file != file)));
    }

    /// <summary>The training rows without those that are held out as well: rows of the same tokens.</summary>
    /// <param name="order">Training and held-out rows.</param>
    /// <param name="stores">Their tokens.</param>
    /// <param name="isRequired">Whether some must be left.</param>
    /// <exception cref="InputException">No row is left.</exception>
    public static RowRef[] Without((RowRef[] Train, RowRef[] Test) order, IReadOnlyList<TokenStore> stores, bool isRequired)
    {
        // Rows of other lengths need not be read, and those are nearly all.
        var held = new Dictionary<(int, int), HashSet<UInt128>>();
        var test = new OrderedRows(stores, order.Test);
        for (var i = 0; i < test.Count; i++)
            (CollectionsMarshal.GetValueRefOrAddDefault(held, (test.Length(i), test.Characters(i)), out _) ??= []).Add(ContentOf(test.Read(i)));
        var train = new OrderedRows(stores, order.Train);
        var known = new HashSet<RowRef>();
        for (var i = 0; i < train.Count; i++)
            if (held.TryGetValue((train.Length(i), train.Characters(i)), out var same) && same.Contains(ContentOf(train.Read(i))))
                known.Add(new(train.Origin(i).Source, (int)train.Origin(i).Row));
        var kept = known.Count == 0 ? order.Train : [.. order.Train.Where(row => !known.Contains(row))];
        return kept.Length > 0 || order.Train.Length == 0 || !isRequired ? kept
            : throw new InputException("every row to train on is held out as well",
                "an evaluation on rows that were trained on says nothing about others",
                "hold out rows of another file, or a slice: dataset_train_split: train[:90%] and dataset_test_split: train[90%:]");
    }

    private static UInt128 ContentOf(TokenRow row)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var part in row.Segments)
        {
            hash.AppendData(MemoryMarshal.AsBytes((ReadOnlySpan<int>)[(int)part.Role, part.Parent, part.Ids.Length]));
            hash.AppendData(MemoryMarshal.AsBytes(part.Ids.Span));
            hash.AppendData(part.Loss.Span);
        }
        return MemoryMarshal.Read<UInt128>(hash.GetHashAndReset());
    }
}
