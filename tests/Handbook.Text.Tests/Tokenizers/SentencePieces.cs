namespace Handbook.Text.Tests.Tokenizers;

/// <summary>Small sentencepiece models, field by field.</summary>
internal static class SentencePieces
{
    public static byte[] Piece(string text, float score, int kind = 1) =>
        Field(1, [.. Field(1, System.Text.Encoding.UTF8.GetBytes(text)), 0x15, .. BitConverter.GetBytes(score), .. Number(3, kind)]);

    public static byte[] Spec(bool bpe, bool bytes) => Field(2, [.. Number(3, bpe ? 2 : 1), .. Number(35, bytes ? 1 : 0)]);

    public static byte[] Normalizer(bool addsPrefix, bool removesSpaces) =>
        Field(3, [.. Number(3, addsPrefix ? 1 : 0), .. Number(4, removesSpaces ? 1 : 0)]);

    /// <summary>A model of each kind.</summary>
    public static IEnumerable<byte[]> All()
    {
        byte[] pieces = [.. Piece("<unk>", 0, 2), .. Piece("<s>", 0, 3), .. Piece("</s>", 0, 3), .. Piece("<user>", 0, 4), .. Piece("▁", -1),
            .. Piece("a", -2), .. Piece("b", -3), .. Piece("ab", -4), .. Piece("▁a", -5), .. Piece("<0xC3>", 0, 6), .. Piece("<0xA9>", 0, 6)];
        yield return [.. pieces, .. Spec(bpe: true, bytes: true)];
        yield return [.. pieces, .. Spec(bpe: false, bytes: true), .. Normalizer(addsPrefix: true, removesSpaces: true)];
        yield return [.. pieces, .. Spec(bpe: false, bytes: false), .. Normalizer(addsPrefix: false, removesSpaces: false)];
    }

    private static byte[] Number(int field, int value) => [.. Variable(field << 3), .. Variable(value)];

    private static byte[] Field(int field, byte[] content) => [.. Variable((field << 3) | 2), .. Variable(content.Length), .. content];

    private static byte[] Variable(int value) => value < 0x80 ? [(byte)value] : [(byte)(value | 0x80), .. Variable(value >> 7)];
}
