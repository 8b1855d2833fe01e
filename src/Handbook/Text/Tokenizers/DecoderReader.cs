using Handbook.Text.Tokenizers.Decoders;

namespace Handbook.Text.Tokenizers;

/// <summary>Reads the <c>decoder</c> section of a tokenizer.json.</summary>
internal static class DecoderReader
{
    public static Decoder Read(ConfigNode node) => node.Find("type")?.AsText() switch
    {
        "Sequence" => new SequenceDecoder([.. node.Need("decoders").Items().Select(Read)]),
        "ByteLevel" => new ByteLevelDecoder(),
        _ => throw PipelineReader.Unknown(node, "decoder", "Sequence"),
    };
}
