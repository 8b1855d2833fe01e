namespace Handbook.Text.Tokenizers;

/// <summary>Decodes ids one at a time and hands out text as soon as it is certain; half a character is held back
/// until its rest arrives.</summary>
public sealed class StreamDecoder
{
    /// <summary>Ids that hold text back for longer than any character is long are broken, and are handed out as U+FFFD.</summary>
    private const int MaxHeld = 8;

    private readonly Tokenizer _tokenizer;
    private readonly bool _skipSpecialTokens;
    private readonly List<int> _ids = [];
    private int _context;           // ids before this one are text already handed out, kept because decoders look at their neighbours

    internal StreamDecoder(Tokenizer tokenizer, bool skipSpecialTokens)
    {
        _tokenizer = tokenizer;
        _skipSpecialTokens = skipSpecialTokens;
    }

    /// <summary>Adds an id.</summary>
    /// <returns>The text that is now certain; empty where the id ends within a character.</returns>
    public string Append(int id)
    {
        _ids.Add(id);
        return Emit(_ids.Count - _context >= MaxHeld);
    }

    /// <summary>The text still held back; call it at the end.</summary>
    public string Flush() => Emit(force: true);

    private string Emit(bool force)
    {
        var ids = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_ids);
        var before = _tokenizer.DecodePlain(ids[.._context], _skipSpecialTokens);
        var now = _tokenizer.DecodePlain(ids, _skipSpecialTokens);
        if (now.Length <= before.Length || (!force && now.EndsWith('\uFFFD')))
            return "";
        var text = now[before.Length..];
        _ids.RemoveRange(0, _context);
        _context = _ids.Count;
        return text;
    }
}
