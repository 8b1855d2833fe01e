using Handbook.Text.Tokenizers.Decoders;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Text.Tokenizers;

/// <summary>Reads the <c>decoder</c> section of a tokenizer.json.</summary>
internal static class DecoderReader
{
    private const string Known = "Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, WordPiece, BPEDecoder, CTC";

    public static TokenDecoder Read(ConfigNode node) => node.Find("type")?.AsText() switch
    {
        "Sequence" => new SequenceDecoder([.. node.Need("decoders").Items().Select(Read)]),
        "ByteLevel" => new ByteLevelDecoder(),
        "ByteFallback" => new ByteFallbackDecoder(),
        "Fuse" => new FuseDecoder(),
        "Replace" => new ReplaceDecoder(PatternReader.Read(node.Need("pattern")), node.Text("content")),
        "Strip" => new StripDecoder(CodePoints.Of(node.Text("content")) is [var point] ? point : throw node.Need("content")
            .Wrong("one character"), node.Number("start"), node.Number("stop")),
        "Metaspace" => new MetaspaceDecoder(PreTokenizerReader.Replacement(node), PreTokenizerReader.Scheme(node) != PrependScheme.Never),
        "WordPiece" => new WordPieceDecoder(node.Text("prefix"), node.Flag("cleanup")),
        "BPEDecoder" => new BpeDecoder(node.Text("suffix")),
        "CTC" => new CtcDecoder(node.Text("pad_token"), node.Text("word_delimiter_token"), node.Flag("cleanup")),
        _ => throw PipelineReader.Unknown(node, "decoder", Known),
    };
}
