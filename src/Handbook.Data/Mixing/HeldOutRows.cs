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

    /// <summary>Says how many of the rows that <c>test_split_size</c> drew stand among them a second time, and once is enough for an
    /// evaluation; null for none.</summary>
    /// <param name="counts">Rows of each part, usable or not.</param>
    /// <param name="held">The rows that are held out, each once.</param>
    public static string? Repeats(MixtureSpec mixture, IReadOnlyList<MixturePart> parts, IReadOnlyList<int> counts, RowRef[] held)
    {
        if (mixture is not { Dialect: MixtureDialect.Mixture, TestSplitSize: { } size })
            return null;
        var drawn = RowOrder.HeldOut(parts.Select((part, i) => RowOrder.Share(counts[i], part.Spec.Weight)).Sum(), size);
        return drawn == held.Length ? null
            : $"note: {drawn - held.Length:N0} of {drawn:N0} held-out rows ({(double)(drawn - held.Length) / drawn:P1}) are left out: the same "
                + "rows of a data set that is taken more than once were held out already";
    }

    /// <summary>The training rows without those that are held out as well, rows of the same tokens, and what to say of them; null for
    /// nothing. They are left out where the rows to hold out are drawn here, or a file of theirs is a training file, too; splits that a data
    /// set publishes apart stay as they are, as the reference takes them.</summary>
    /// <param name="mixture">How data sets are mixed.</param>
    /// <param name="order">Training and held-out rows.</param>
    /// <param name="stores">Their tokens.</param>
    /// <param name="sources">Where they are from, and whether what is from there is held out.</param>
    /// <param name="hashOf">A hash of a file's content.</param>
    /// <exception cref="InputException">No row is left.</exception>
    public static (RowRef[] Train, string? Remark) Apart(MixtureSpec mixture, (RowRef[] Train, RowRef[] Test) order, IReadOnlyList<TokenStore> stores,
        IReadOnlyList<(IRowSource Rows, bool IsTest)> sources, Func<string, string> hashOf)
    {
        var train = order.Train;
        var kept = Without(order, stores);
        if (kept.Length == train.Length)
            return (train, null);
        var both = $"note: {train.Length - kept.Length:N0} of {train.Length:N0} training rows ({(double)(train.Length - kept.Length) / train.Length:P1}) are ";
        if (!LeavesOut(mixture, sources, hashOf))
            return (train, both + "held out as well: the data set publishes them in both splits");
        return kept.Length > 0 ? (kept, both + "left out: the same rows are held out")
            : throw new InputException("every row to train on is held out as well",
                "an evaluation on rows that were trained on says nothing about others",
                "hold out rows of another file, or a slice: dataset_train_split: train[:90%] and dataset_test_split: train[90%:]");
    }

    private static bool LeavesOut(MixtureSpec mixture, IReadOnlyList<(IRowSource Rows, bool IsTest)> sources, Func<string, string> hashOf)
    {
        if (mixture is { Dialect: MixtureDialect.Mixture, TestSplitSize: not null })
            return true;
        var trained = Files(isTest: false).ToLookup(hashOf);
        // Slices of one file are apart where each source has its own.
        return Files(isTest: true).Any(file => trained[hashOf(file)].Any(other => mixture.Dialect != MixtureDialect.Single || other != file));

        IEnumerable<string> Files(bool isTest) => sources.Where(source => source.IsTest == isTest).SelectMany(source => source.Rows.Files).Distinct();
    }

    private static RowRef[] Without((RowRef[] Train, RowRef[] Test) order, IReadOnlyList<TokenStore> stores)
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
        return known.Count == 0 ? order.Train : [.. order.Train.Where(row => !known.Contains(row))];
    }

    private static UInt128 ContentOf(TokenRow row)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var part in row.Segments)
        {
            RowSurvey.Append(part, hash);
            hash.AppendData(part.Loss.Span);
        }
        return MemoryMarshal.Read<UInt128>(hash.GetHashAndReset());
    }
}
