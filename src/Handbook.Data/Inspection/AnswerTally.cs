using Handbook.Data.Decontamination;

namespace Handbook.Data.Inspection;

/// <summary>What tells better answers from worse ones before anybody reads them: their length, or nothing at all.</summary>
internal sealed class AnswerTally
{
    /// <summary>Share of their pairs of words that two answers must have in common to be nearly the same.</summary>
    private const double NearlySame = 0.9;

    private readonly List<int> _starts = [];
    private double _good, _bad, _squares;

    /// <summary>Rows with both answers.</summary>
    public long Pairs { get; private set; }

    /// <summary>Answers that are good.</summary>
    public long Good { get; private set; }

    /// <summary>Answers that are bad.</summary>
    public long Bad { get; private set; }

    /// <summary>Pairs whose answers are the same but for case, white space and punctuation.</summary>
    public long Same { get; private set; }

    /// <summary>Other pairs whose answers have nearly all pairs of neighbouring words in common.</summary>
    public long Near { get; private set; }

    /// <summary>Pairs whose better answer has more characters.</summary>
    public long Longer { get; private set; }

    /// <summary>Pairs whose better answer has fewer characters.</summary>
    public long Shorter { get; private set; }

    /// <summary>Where nearly equal answers stand: some of them.</summary>
    public List<string> Examples { get; } = [];

    /// <summary>Mean characters of good answers.</summary>
    public double GoodLength => Good == 0 ? 0 : _good / Good;

    /// <summary>Mean characters of bad answers.</summary>
    public double BadLength => Bad == 0 ? 0 : _bad / Bad;

    /// <summary>The correlation of an answer's characters with its being good, from −1 to 1; 0 where all are of one kind or length.</summary>
    /// <remarks><code>r = (m₁ − m₀) / s · √( p (1 − p) )</code> the point-biserial correlation; s over all answers, p the share of good
    /// ones.</remarks>
    public double Correlation
    {
        get
        {
            double count = Good + Bad;
            var mean = (_good + _bad) / count;
            var deviation = Math.Sqrt(Math.Max(0, _squares / count - mean * mean));
            return Good == 0 || Bad == 0 || deviation == 0 ? 0 : (GoodLength - BadLength) / deviation * Math.Sqrt(Good / count * (Bad / count));
        }
    }

    public void Add(string? good, string? bad, string place)
    {
        if (good is not null)
        {
            Good++;
            _good += good.Length;
            _squares += (double)good.Length * good.Length;
        }
        if (bad is not null)
        {
            Bad++;
            _bad += bad.Length;
            _squares += (double)bad.Length * bad.Length;
        }
        if (good is null || bad is null)
            return;
        Pairs++;
        Longer += good.Length > bad.Length ? 1 : 0;
        Shorter += good.Length < bad.Length ? 1 : 0;
        var (one, other) = (Words(good), Words(bad));
        if (one.AsSpan().SequenceEqual(other))
            Same++;
        else if (Common(one, other) >= NearlySame)
            Near++;
        else
            return;
        if (Examples.Count < 3)
            Examples.Add(place);
    }

    private string[] Words(string text) => NormalText.Words(text, _starts).Split(' ');

    /// <summary>The share of neighbouring words that two texts have in common, by Dice: twice those in both over those of either.</summary>
    private static double Common(string[] one, string[] other)
    {
        if (Math.Min(one.Length, other.Length) < NearlySame / (2 - NearlySame) * Math.Max(one.Length, other.Length) - 1)
            return 0;       // too different in length to be near
        var counts = new Dictionary<(string, string), int>();
        for (var i = 1; i < one.Length; i++)
            System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(counts, (one[i - 1], one[i]), out _)++;
        var both = 0;
        for (var i = 1; i < other.Length; i++)
            if (counts.TryGetValue((other[i - 1], other[i]), out var left) && left > 0)
            {
                counts[(other[i - 1], other[i])] = left - 1;
                both++;
            }
        return one.Length + other.Length <= 2 ? 0 : 2.0 * both / (one.Length + other.Length - 2);
    }
}
