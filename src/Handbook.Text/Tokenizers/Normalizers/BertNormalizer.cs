using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers.Normalizers;

/// <summary>BERT's clean-up: no control characters, spaces around Chinese characters, no accents, lower case.</summary>
/// <param name="stripAccents">null: as <paramref name="lowercase"/>.</param>
internal sealed class BertNormalizer(bool cleanText, bool handleChinese, bool? stripAccents, bool lowercase) : Normalizer
{
    private readonly Normalizer[] _steps =
    [
        .. cleanText ? [new Cleaner()] : Array.Empty<Normalizer>(),
        .. handleChinese ? [new ChineseSpacer()] : Array.Empty<Normalizer>(),
        .. stripAccents ?? lowercase
            ? [UnicodeNormalizer.Nfd, new FilterNormalizer(point => !Properties.IsAccent(point))] : Array.Empty<Normalizer>(),
        .. lowercase ? [new LowercaseNormalizer()] : Array.Empty<Normalizer>(),
    ];

    public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
    {
        foreach (var step in _steps)
            if (ReferenceEquals(step.Apply(text, spare), spare))
                (text, spare) = (spare, text);
        return text;
    }

    private sealed class Cleaner : Normalizer
    {
        public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
        {
            spare.BeginFrom(text);
            for (var i = 0; i < text.Count; i++)
            {
                var point = text.Points[i];
                var blank = point is '\t' or '\n' or '\r' || Properties.IsWhiteSpace(point);
                if (point is 0 or 0xFFFD || (point is not ('\t' or '\n' or '\r') && Properties.IsOther(point)))
                    continue;
                spare.AppendAligned(blank ? ' ' : point, text, i);
            }
            return spare;
        }
    }

    private sealed class ChineseSpacer : Normalizer
    {
        public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
        {
            spare.BeginFrom(text);
            for (var i = 0; i < text.Count; i++)
            {
                var chinese = IsChinese(text.Points[i]);
                if (chinese)
                    spare.AppendAligned(' ', text, i);
                spare.AppendAligned(text.Points[i], text, i);
                if (chinese)
                    spare.AppendAligned(' ', text, i);
            }
            return spare;
        }

        /// <summary>The reference's ranges; its 2B920 for 2B820 is kept, because models have learned with it.</summary>
        private static bool IsChinese(int point) =>
            point is (>= 0x4E00 and <= 0x9FFF) or (>= 0x3400 and <= 0x4DBF) or (>= 0x20000 and <= 0x2A6DF) or (>= 0x2A700 and <= 0x2B73F)
            or (>= 0x2B740 and <= 0x2B81F) or (>= 0x2B920 and <= 0x2CEAF) or (>= 0xF900 and <= 0xFAFF) or (>= 0x2F800 and <= 0x2FA1F);
    }
}
