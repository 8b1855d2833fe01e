using System.Text;
using Handbook.Base;

namespace Handbook.Text.Tokenizers.Formats;

/// <summary>UTF-8 that refuses what is no text.</summary>
internal static class StrictUtf8
{
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <exception cref="DecoderFallbackException">The bytes are no UTF-8.</exception>
    public static string Of(ReadOnlySpan<byte> bytes) => Strict.GetString(bytes);

    /// <summary>The text of a file.</summary>
    /// <exception cref="InputException">It is none.</exception>
    public static string Of(ReadOnlySpan<byte> bytes, string name)
    {
        try
        {
            return Of(bytes.StartsWith("\uFEFF"u8) ? bytes[3..] : bytes);
        }
        catch (DecoderFallbackException broken)
        {
            throw new InputException($"{name} is not UTF-8", fix: "fetch the file again", inner: broken);
        }
    }
}
