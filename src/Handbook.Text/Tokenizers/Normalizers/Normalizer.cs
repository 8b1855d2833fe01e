namespace Handbook.Text.Tokenizers.Normalizers;

/// <summary>Rewrites text before it is cut.</summary>
internal abstract class Normalizer
{
    /// <summary>Returns the buffer that holds the result: <paramref name="text"/> where nothing changes, else
    /// <paramref name="spare"/>.</summary>
    public abstract TextBuffer Apply(TextBuffer text, TextBuffer spare);

    /// <summary>The normalized form of a string, e.g. of an added token's content.</summary>
    public string Apply(string content)
    {
        TextBuffer text = new(), spare = new();
        text.Load(content, tracked: false);
        return Apply(text, spare).ToString();
    }
}

internal sealed class SequenceNormalizer(Normalizer[] steps) : Normalizer
{
    public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
    {
        foreach (var step in steps)
            if (ReferenceEquals(step.Apply(text, spare), spare))
                (text, spare) = (spare, text);
        return text;
    }
}
