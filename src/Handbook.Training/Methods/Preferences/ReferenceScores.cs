using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Data;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Distributed;
using Decoder = Handbook.Models.Decoder;

namespace Handbook.Training.Methods.Preferences;

/// <summary>The reference model's scores of a data set: computed once, kept in a file, found again by everything that decides them.</summary>
/// <remarks>
/// The file has three float64 numbers per row (chosen, rejected, mismatched), in the rows' order. While it is written it is called
/// <c>….part</c>; a run that was stopped goes on after the last whole row.
/// </remarks>
internal sealed class ReferenceScores(CacheFolder cache)
{
    private const int GroupSize = 64;

    /// <summary>Everything that decides the scores: the weights, the rows with all their tokens, and how log-probabilities become one
    /// number.</summary>
    /// <param name="modelFolders">The folders of the reference and of its adapters; every file of weights in them counts, and their
    /// configs.</param>
    /// <param name="compute">Element type of products.</param>
    /// <param name="objective">Makes one number of an answer's log-probabilities.</param>
    /// <param name="rows">What <see cref="RowSurvey.ContentOf"/> says of the rows, and how they and the weights are laid out.</param>
    public string Key(IReadOnlyList<string> modelFolders, DType compute, IPreferenceObjective objective, string rows)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes($"reference 3 {compute} {objective.ReduceKey} {rows}"));
        foreach (var file in modelFolders.SelectMany(ModelFolder.Files))
            hash.AppendData(Encoding.UTF8.GetBytes($" {Path.GetFileName(file)} {cache.HashOf(file)}"));
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>Whether two model folders hold the same weights and settings, under whatever path.</summary>
    public static bool AreSameWeights(string folder, string other, CacheFolder cache)
    {
        if (Path.GetFullPath(folder) == Path.GetFullPath(other))
            return true;
        string[] own = [.. ModelFolder.Files(folder)], its = [.. ModelFolder.Files(other)];
        return own.Select(Size).SequenceEqual(its.Select(Size)) && own.Select(cache.HashOf).SequenceEqual(its.Select(cache.HashOf));

        static (string, long) Size(string file) => (Path.GetFileName(file), new FileInfo(file).Length);
    }

    /// <summary>The scores under this key; null where they are not all there.</summary>
    public ReferenceScore[]? Find(string key, int count) => File.Exists(cache.ReferenceOf(key)) && Read(cache.ReferenceOf(key)) is { } scores && scores.Length == count ? scores : null;

    /// <summary>Computes the scores of rows, from where an earlier run stopped, and keeps them.</summary>
    /// <param name="done">Told how many rows are done.</param>
    /// <param name="workers">Who each scores a share of the rows, of whom the first keeps them; null for this process alone.</param>
    /// <param name="cancel">Stops between groups of rows with an <see cref="OperationCanceledException"/>; what is done is kept.</param>
    public ReferenceScore[] Compute(string key, Decoder model, IPreferenceObjective objective, ITokenRows rows, int maxTokens, Action<long>? done = null,
        Workers? workers = null, CancellationToken cancel = default)
    {
        workers ??= Workers.Alone;
        var path = cache.ReferenceOf(key);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var scores = new ReferenceScore[rows.Count];
        using (var file = workers.IsFirst ? OpenPart(path + ".part") : null)
        {
            var first = 0;
            if (file is not null && file.Name.EndsWith(".part", StringComparison.Ordinal))
            {
                var known = Read(file.Name) ?? [];
                first = Math.Min(known.Length, rows.Count) / GroupSize * GroupSize;
                known.AsSpan(0, first).CopyTo(scores);
            }
            file?.SetLength((long)first * Marshal.SizeOf<ReferenceScore>());
            file?.Seek(0, SeekOrigin.End);
            MemoryMarshal.Cast<byte, ReferenceScore>(workers.Gather(MemoryMarshal.AsBytes(scores.AsSpan(0, first)).ToArray())[0])
                .CopyTo(scores);
            first = (int)workers.Sum(first)[0];
            for (var start = first; start < rows.Count; start += GroupSize)
            {
                if (workers.Any(cancel.IsCancellationRequested))
                    throw new OperationCanceledException(cancel);
                done?.Invoke(start);
                int[] numbers = [.. Enumerable.Range(start, Math.Min(GroupSize, rows.Count - start))];
                var mine = new List<int>();
                foreach (var bin in BatchLoader.Bins(rows, numbers, maxTokens, workers))
                    foreach (var (row, score) in LiveReference.Score(model, bin, objective, rows.Read))
                    {
                        scores[row] = RequireFinite(score, row);
                        mine.Add(row);
                    }
                if (workers.Groups > 1)
                    Exchange(workers, scores, [.. mine]);
                file?.Write(MemoryMarshal.AsBytes(scores.AsSpan(start, numbers.Length)));
                file?.Flush();
            }
            if (file is not null)
                WholeFile.Publish(file.Name, path);
        }
        done?.Invoke(rows.Count);
        return scores;
    }

    /// <summary>Gives everyone the scores that each has computed.</summary>
    private static void Exchange(Workers workers, ReferenceScore[] scores, int[] mine)
    {
        var rows = workers.GatherGroups(MemoryMarshal.AsBytes<int>(mine).ToArray());
        var parts = workers.GatherGroups(MemoryMarshal.AsBytes<ReferenceScore>(Array.ConvertAll(mine, row => scores[row])).ToArray());
        for (var group = 0; group < rows.Count; group++)
        {
            var numbers = MemoryMarshal.Cast<byte, int>(rows[group]);
            var values = MemoryMarshal.Cast<byte, ReferenceScore>(parts[group]);
            for (var i = 0; i < numbers.Length; i++)
                scores[numbers[i]] = values[i];
        }
    }

    private static ReferenceScore RequireFinite(ReferenceScore score, int row) =>
        double.IsFinite(score.Chosen) && double.IsFinite(score.Rejected) && double.IsFinite(score.Mismatched) ? score
            : throw new InputException($"the reference model's log-probability of an answer in row {row} is not finite ({score.Chosen}, {score.Rejected})",
                why: "every loss that compares with it would be not a number", fix: "check the reference's weights, or look at the row with `handbook inspect`");

    /// <summary>The file that grows; another one where a second run is writing it at this moment.</summary>
    private static FileStream OpenPart(string part)
    {
        try
        {
            return new FileStream(part, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read | FileShare.Delete);
        }
        catch (IOException)
        {
            return new FileStream($"{part}.{Guid.NewGuid():N}", FileMode.CreateNew, FileAccess.ReadWrite, FileShare.Read | FileShare.Delete);
        }
    }

    private static ReferenceScore[]? Read(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        var scores = new ReferenceScore[stream.Length / Marshal.SizeOf<ReferenceScore>()];
        stream.ReadExactly(MemoryMarshal.AsBytes(scores.AsSpan()));
        return scores;
    }
}
