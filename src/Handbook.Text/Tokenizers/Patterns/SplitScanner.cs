using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers.Patterns;

/// <summary>The three regular expressions that most byte-level tokenizers use, written out by hand.</summary>
/// <remarks>A test holds each against the general engine on random text.</remarks>
internal sealed class SplitScanner : IMatcher
{
    /// <summary>GPT-2, and every <c>ByteLevel</c> pre-tokenizer with <c>use_regex</c>.</summary>
    public const string Gpt2Pattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    /// <summary>Llama 3 and cl100k: contractions in any case, at most three digits.</summary>
    public const string Llama3Pattern =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// <summary>Qwen 2: as Llama 3, one digit at a time.</summary>
    public const string Qwen2Pattern =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private const byte Letter = 1, Number = 2, Space = 3, Other = 0;
    private static readonly byte[] Kinds = BuildKinds();

    private readonly bool _gpt2;
    private readonly int _maxDigits;

    private SplitScanner(bool gpt2, int maxDigits)
    {
        _gpt2 = gpt2;
        _maxDigits = maxDigits;
    }

    public static SplitScanner Gpt2 { get; } = new(gpt2: true, int.MaxValue);

    public static SplitScanner Llama3 { get; } = new(gpt2: false, 3);

    public static SplitScanner Qwen2 { get; } = new(gpt2: false, 1);

    /// <summary>The scanner of a pattern, or null where it is not one of the three.</summary>
    public static SplitScanner? For(string pattern) => pattern switch
    {
        Gpt2Pattern => Gpt2,
        Llama3Pattern => Llama3,
        Qwen2Pattern => Qwen2,
        _ => null,
    };

    /// <summary>Every one of the patterns matches something at every place, so that the matches cover the text.</summary>
    public void FindAll(ReadOnlySpan<int> text, List<(int Start, int End, bool Match)> ranges)
    {
        for (var i = 0; i < text.Length;)
        {
            var end = _gpt2 ? NextGpt2(text, i) : NextLlama(text, i, _maxDigits);
            ranges.Add((i, end, true));
            i = end;
        }
    }

    /// <summary>The matches as pieces.</summary>
    public void Cut(int[] points, int start, int end, List<Piece> pieces)
    {
        var text = points.AsSpan(start, end - start);
        for (var i = 0; i < text.Length;)
        {
            var next = _gpt2 ? NextGpt2(text, i) : NextLlama(text, i, _maxDigits);
            pieces.Add(new(start + i, start + next, -1));
            i = next;
        }
    }

    private static int NextGpt2(ReadOnlySpan<int> text, int start)
    {
        var first = text[start];
        if (first == '\'')
        {
            var end = Contraction(text, start, ignoreCase: false);
            if (end > 0)
                return end;
        }
        var at = first == ' ' && start + 1 < text.Length ? start + 1 : start;
        switch (Kind(text[at]))
        {
            case Letter:
                return Run(text, at + 1, Letter);
            case Number:
                return Run(text, at + 1, Number);
            case Other:
                return Run(text, at + 1, Other);
            default:
                return WhiteSpace(text, start);
        }
    }

    private static int NextLlama(ReadOnlySpan<int> text, int start, int maxDigits)
    {
        var first = text[start];
        if (first == '\'')
        {
            var end = Contraction(text, start, ignoreCase: true);
            if (end > 0)
                return end;
        }
        var kind = Kind(first);
        if (kind == Letter)
            return Run(text, start + 1, Letter);
        if (kind == Number)
        {
            var end = start + 1;
            while (end < text.Length && end - start < maxDigits && Kind(text[end]) == Number)
                end++;
            return end;
        }
        if (first is not ('\r' or '\n') && start + 1 < text.Length && Kind(text[start + 1]) == Letter)
            return Run(text, start + 2, Letter);
        var at = first == ' ' && start + 1 < text.Length ? start + 1 : start;
        if (Kind(text[at]) == Other)
        {
            var end = Run(text, at + 1, Other);
            while (end < text.Length && text[end] is '\r' or '\n')
                end++;
            return end;
        }
        // \s*[\r\n]+ : up to the last line break of the run of white space
        var stop = Run(text, start + 1, Space);
        for (var i = stop; i > start; i--)
            if (text[i - 1] is '\r' or '\n')
                return i;
        return BeforeText(text, start, stop);
    }

    private static int WhiteSpace(ReadOnlySpan<int> text, int start) => BeforeText(text, start, Run(text, start + 1, Space));

    /// <summary><c>\s+(?!\S)|\s+</c>: leaves the last white space to the word that follows.</summary>
    private static int BeforeText(ReadOnlySpan<int> text, int start, int stop) => stop < text.Length && stop - start > 1 ? stop - 1 : stop;

    private static int Contraction(ReadOnlySpan<int> text, int start, bool ignoreCase)
    {
        if (start + 1 >= text.Length)
            return 0;
        var first = Fold(text[start + 1], ignoreCase);
        if (first is 's' or 't' or 'm' or 'd')
            return start + 2;
        if (start + 2 >= text.Length)
            return 0;
        var second = Fold(text[start + 2], ignoreCase);
        return (first, second) is ('r', 'e') or ('v', 'e') or ('l', 'l') ? start + 3 : 0;
    }

    private static int Fold(int point, bool ignoreCase) => !ignoreCase ? point : point switch
    {
        >= 'A' and <= 'Z' => point + 32,
        0x17F => 's',                       // ſ folds to s
        _ => point,
    };

    private static int Run(ReadOnlySpan<int> text, int at, byte kind)
    {
        while (at < text.Length && Kind(text[at]) == kind)
            at++;
        return at;
    }

    private static byte Kind(int point) => point < Kinds.Length ? Kinds[point] : KindOf(point);

    private static byte KindOf(int point) =>
        Properties.IsLetter(point) ? Letter : Properties.IsNumber(point) ? Number : Properties.IsWhiteSpace(point) ? Space : Other;

    private static byte[] BuildKinds()
    {
        var kinds = new byte[0x250];
        for (var point = 0; point < kinds.Length; point++)
            kinds[point] = KindOf(point);
        return kinds;
    }
}
