using System.Text.Json;
using Handbook.Base;
using Handbook.Text.Tokenizers.PostProcessors;

namespace Handbook.Text.Tokenizers;

/// <summary>Reads the <c>post_processor</c> section of a tokenizer.json.</summary>
internal static class PostProcessorReader
{
    public static PostProcessor Read(ConfigNode node) => node.Find("type")?.AsText() switch
    {
        "Sequence" => new SequenceProcessor([.. node.Need("processors").Items().Select(Read)]),
        "ByteLevel" => new ByteLevelProcessor(node.Flag("trim_offsets", true), node.Flag("add_prefix_space", true)),
        "TemplateProcessing" => Template(node),
        "BertProcessing" => new BertProcessor(Token(node.Need("cls")), Token(node.Need("sep"))),
        "RobertaProcessing" => new RobertaProcessor(Token(node.Need("cls")), Token(node.Need("sep")), node.Flag("trim_offsets", true),
            node.Flag("add_prefix_space", true)),
        _ => throw PipelineReader.Unknown(node, "post-processor",
            "TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing, Sequence"),
    };

    private static (string, int) Token(ConfigNode node) =>
        node.Json.ValueKind == JsonValueKind.Array && node.Json.GetArrayLength() == 2
            ? (new ConfigNode(node.Json[0], $"{node.Path}[0]").AsText(), new ConfigNode(node.Json[1], $"{node.Path}[1]").AsNumber())
            : throw node.Wrong("a token and its id: [\"</s>\", 2]");

    private static TemplateProcessor Template(ConfigNode node)
    {
        var special = new Dictionary<string, (int, string)[]>(StringComparer.Ordinal);
        foreach (var (name, entry) in node.Find("special_tokens")?.Members() ?? [])
        {
            var ids = entry.Need("ids").Items().Select(id => id.AsNumber()).ToArray();
            var tokens = entry.Need("tokens").Items().Select(token => token.AsText()).ToArray();
            if (ids.Length != tokens.Length)
                throw new InputException($"{entry.Path}[\"{name}\"] has {ids.Length} ids and {tokens.Length} tokens",
                    "each token needs its id");
            special[name] = [.. ids.Zip(tokens)];
        }
        return new([.. node.Need("single").Items().Select(Item)], [.. node.Need("pair").Items().Select(Item)]);

        TemplateItem Item(ConfigNode item)
        {
            if (item.Find("Sequence") is { } sequence)
                return new(sequence.Text("id") switch { "A" => 0, "B" => 1, _ => throw sequence.Need("id").Wrong("\"A\" or \"B\"") },
                    sequence.Number("type_id"), null, "");
            var token = item.Need("SpecialToken");
            // A file may carry a template that nobody uses: only its use is an error, as in the reference.
            return new(-1, token.Number("type_id"), special.GetValueOrDefault(token.Text("id")), token.Text("id"));
        }
    }
}
