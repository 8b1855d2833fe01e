using Handbook.Text.Tokenizers.Normalizers;

namespace Handbook.Text.Tokenizers;

/// <summary>Reads the <c>normalizer</c> section of a tokenizer.json.</summary>
internal static class NormalizerReader
{
    public static Normalizer Read(ConfigNode node) => node.Find("type")?.AsText() switch
    {
        "Sequence" => new SequenceNormalizer([.. node.Need("normalizers").Items().Select(Read)]),
        _ => throw PipelineReader.Unknown(node, "normalizer", "Sequence"),
    };
}
