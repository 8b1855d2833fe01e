using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Handbook.Data.Mixing;

namespace Handbook.Data;

/// <summary>What is to be known of rows before they are trained on.</summary>
internal sealed record SurveyOptions
{
    /// <summary>Positions that the model was made for; longer ways through a row are counted.</summary>
    public int LongestText { get; init; } = int.MaxValue;

    /// <summary>Whether rows are single answers, of which the good and the bad are counted.</summary>
    public bool CountsAnswers { get; init; }

    /// <summary>Whether margins decide what a step learns.</summary>
    public bool HasMargins { get; init; }

    /// <summary>Whether the tokens of every row are digested, for <see cref="RowSurvey.ContentOf"/>.</summary>
    public bool Digests { get; init; }
}

/// <summary>All that is asked of a run's rows at its start, from one reading.</summary>
/// <param name="Answers">Good and bad answers; zeros where rows are no single answers.</param>
/// <param name="TooLong">Rows that reach positions which the model was not made for.</param>
/// <param name="Longest">Tokens on the longest way through such a row; 0 where there is none.</param>
internal sealed record RowSurvey(AnswerLabels Answers, int TooLong, int Longest)
{
    /// <summary>Rows whose content stands for that of all.</summary>
    private const int Samples = 64;

    private readonly byte[] _content = [];
    private readonly byte[] _digests = [];

    /// <summary>Reads every row that has to be read, once.</summary>
    public static RowSurvey Of(ITokenRows rows, SurveyOptions options)
    {
        var (good, bad, tooLong, longest) = (0, 0, 0, 0);
        var lengths = new int[rows.Count];
        var margins = options.HasMargins ? new double[rows.Count] : [];
        var samples = new List<byte[]>();
        var between = Math.Max(1, rows.Count / Samples);
        var digests = new byte[options.Digests ? rows.Count * SHA256.HashSizeInBytes : 0];
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        for (var i = 0; i < rows.Count; i++)
        {
            var read = i % between == 0 || options.CountsAnswers || options.HasMargins || options.Digests ? rows.Read(i) : null;
            lengths[i] = read?.TokenCount ?? rows.Length(i);        // rows that are made from others are read for their length as well
            if (read is null && lengths[i] <= options.LongestText)
                continue;
            var row = read ?? rows.Read(i);
            if (lengths[i] > options.LongestText && Depth(row) is var depth && depth > options.LongestText)
                (tooLong, longest) = (tooLong + 1, Math.Max(longest, depth));
            if (options.CountsAnswers && row.Segments.Any(segment => segment.Role == SegmentRole.Chosen))
                good++;
            else if (options.CountsAnswers)
                bad++;
            if (options.HasMargins)
                margins[i] = row.Margin;
            if (options.Digests)
                Digest(row, hash, digests.AsSpan(i * SHA256.HashSizeInBytes, SHA256.HashSizeInBytes));
            if (i % between == 0)
                foreach (var segment in row.Segments)
                    samples.AddRange([MemoryMarshal.AsBytes(segment.Ids.Span).ToArray(), segment.Loss.ToArray()]);
        }
        return new(new AnswerLabels(good, bad), tooLong, longest,
            [.. MemoryMarshal.AsBytes<int>(lengths), .. samples.SelectMany(sample => sample), .. MemoryMarshal.AsBytes<double>(margins)],
            digests);
    }

    private RowSurvey(AnswerLabels answers, int tooLong, int longest, byte[] content, byte[] digests) : this(answers, tooLong, longest) =>
        (_content, _digests) = (content, digests);

    /// <summary>Says what tokens rows have, each part with its role and its parent.</summary>
    /// <param name="rows">The rows, by number, in the order that counts; null for all in theirs.</param>
    /// <exception cref="InvalidOperationException">They were surveyed without <see cref="SurveyOptions.Digests"/>.</exception>
    public string ContentOf(IReadOnlyList<int>? rows = null)
    {
        if (_digests.Length == 0 && _content.Length > 0)
            throw new InvalidOperationException("these rows were surveyed without digests");
        if (rows is null)
            return Convert.ToHexStringLower(SHA256.HashData(_digests));
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var row in rows)
            hash.AppendData(_digests.AsSpan(row * SHA256.HashSizeInBytes, SHA256.HashSizeInBytes));
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>Says which tokens the steps of a run see: lengths of all rows and the content of some stand for the rows.</summary>
    /// <param name="order">What else decides it: their number, batches and seed.</param>
    public string Key(string order)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(order));
        hash.AppendData(_content);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static void Digest(TokenRow row, IncrementalHash hash, Span<byte> digest)
    {
        foreach (var segment in row.Segments)
            Append(segment, hash);
        hash.GetHashAndReset(digest);
    }

    /// <summary>Adds a part of a row: its tokens, and where it stands.</summary>
    internal static void Append(TokenSegment segment, IncrementalHash hash)
    {
        hash.AppendData(MemoryMarshal.AsBytes((ReadOnlySpan<int>)[(int)segment.Role, segment.Parent, segment.Ids.Length]));
        hash.AppendData(MemoryMarshal.AsBytes(segment.Ids.Span));
    }

    /// <summary>Tokens on the longest way from a root of a row to a leaf: what positions count.</summary>
    private static int Depth(TokenRow row)
    {
        var ends = new int[row.Segments.Count];
        for (var s = 0; s < ends.Length; s++)
            ends[s] = row.Segments[s].Ids.Length + (row.Segments[s].Parent is >= 0 and var parent ? ends[parent] : 0);
        return ends.Max();
    }
}
