using Handbook.Base;
using Handbook.Text.Tokenizers.Normalizers;

namespace Handbook.Text.Tokenizers;

/// <summary>Reads the <c>normalizer</c> section of a tokenizer.json.</summary>
internal static class NormalizerReader
{
    private const string Known = "Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend, BertNormalizer, Nmt, "
        + "ByteLevel, Precompiled";

    public static Normalizer Read(ConfigNode node) => node.Find("type")?.AsText() switch
    {
        "Sequence" => new SequenceNormalizer([.. node.Need("normalizers").Items().Select(Read)]),
        "NFC" => UnicodeNormalizer.Nfc,
        "NFD" => UnicodeNormalizer.Nfd,
        "NFKC" => UnicodeNormalizer.Nfkc,
        "NFKD" => UnicodeNormalizer.Nfkd,
        "Lowercase" => new LowercaseNormalizer(),
        "Strip" => new StripNormalizer(node.Flag("strip_left"), node.Flag("strip_right")),
        "StripAccents" => FilterNormalizer.StripAccents,
        "Replace" => Replace(node),
        "Prepend" => new PrependNormalizer(node.Text("prepend")),
        "BertNormalizer" => new BertNormalizer(node.Flag("clean_text"), node.Flag("handle_chinese_chars"),
            node.Find("strip_accents")?.AsFlag(), node.Flag("lowercase")),
        "Nmt" => new NmtNormalizer(),
        "ByteLevel" => new ByteLevelNormalizer(),
        "Precompiled" => Precompiled(node.Need("precompiled_charsmap")),
        _ => throw PipelineReader.Unknown(node, "normalizer", Known),
    };

    private static Normalizer Replace(ConfigNode node)
    {
        var content = node.Text("content");
        var (from, to) = (CodePoints.Of(node.Need("pattern").Text("String", "")), CodePoints.Of(content));
        if (from.Length == 1 && to.Length == 1)
            return new ReplacePointNormalizer(from[0], to[0]);
        return new ReplaceNormalizer(PatternReader.Read(node.Need("pattern")), content);
    }

    private static PrecompiledNormalizer Precompiled(ConfigNode node)
    {
        try
        {
            return new(Convert.FromBase64String(node.AsText()));
        }
        catch (FormatException broken)
        {
            throw new InputException($"{node.Path} is not a compiled character map: {broken.Message}",
                fix: "use the tokenizer.json of the published model", inner: broken);
        }
    }
}
