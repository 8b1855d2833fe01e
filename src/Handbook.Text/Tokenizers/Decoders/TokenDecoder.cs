using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Text.Tokenizers.Decoders;

/// <summary>Turns tokens back into text. Steps follow one another; at the end the pieces are joined.</summary>
internal abstract class TokenDecoder
{
    public abstract List<string> Apply(List<string> tokens);

    /// <summary>What the step looks at.</summary>
    public virtual DecoderKind Kind => DecoderKind.Local;

    /// <summary>The steps one after the other.</summary>
    public virtual IEnumerable<TokenDecoder> Steps => [this];
}

/// <summary>What a step of a decoder looks at.</summary>
internal enum DecoderKind
{
    /// <summary>Each token by itself, and whether it is the first or the last; as many come out as went in.</summary>
    Local,
    /// <summary>The bytes that tokens are written with, which it joins.</summary>
    Bytes,
    /// <summary>Runs of byte tokens.</summary>
    Fallback,
    /// <summary>Joins all.</summary>
    Fuse,
    /// <summary>Tokens with their neighbours.</summary>
    Neighbours,
}

/// <summary>Tokens with a space between them: the text where a file names no decoder.</summary>
internal sealed class SpacedDecoder : TokenDecoder
{
    public override List<string> Apply(List<string> tokens) => [.. tokens.Select((token, index) => index == 0 ? token : " " + token)];
}

internal sealed class SequenceDecoder(TokenDecoder[] steps) : TokenDecoder
{
    public bool IsEmpty => steps.Length == 0;

    public override IEnumerable<TokenDecoder> Steps => steps.SelectMany(step => step.Steps);

    public override List<string> Apply(List<string> tokens)
    {
        foreach (var step in steps)
            tokens = step.Apply(tokens);
        return tokens;
    }
}

/// <summary>Byte characters back to bytes, bytes to text; invalid UTF-8 gives U+FFFD.</summary>
internal sealed class ByteLevelDecoder : TokenDecoder
{
    public override List<string> Apply(List<string> tokens)
    {
        var bytes = new List<byte>();
        foreach (var token in tokens)
            Append(token, bytes);
        return [System.Text.Encoding.UTF8.GetString(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(bytes))];
    }

    public override DecoderKind Kind => DecoderKind.Bytes;

    /// <summary>Appends the bytes that a token is written with.</summary>
    public static void Append(string token, List<byte> bytes)
    {
        var start = bytes.Count;
        foreach (var character in token)
        {
            var value = ByteAlphabet.ByteOf(character);
            if (value < 0)
            {
                // Not written in the byte alphabet: an added token that means itself.
                bytes.RemoveRange(start, bytes.Count - start);
                bytes.AddRange(System.Text.Encoding.UTF8.GetBytes(token));
                return;
            }
            bytes.Add((byte)value);
        }
    }
}
