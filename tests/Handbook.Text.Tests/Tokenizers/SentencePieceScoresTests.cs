using System.Text.Json;
using Handbook.Testing;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>A sentencepiece BPE vocabulary with scores, as llama2.c stores it, expressed as tokenizer.json.</summary>
public sealed class SentencePieceScoresTests
{
    [Fact, Trait("kind", "golden")]
    public void Merging_by_score_gives_the_ids_of_llama2_c()
    {
        var tokenizer = Adapt(SharedFiles.Need("models", "stories260k", "tok512.bin"));
        using var golden = JsonDocument.Parse(File.ReadAllBytes(SharedFiles.Need("models", "stories260k", "golden.json")));
        foreach (var row in golden.RootElement.GetProperty("cases").EnumerateArray())
        {
            var ids = tokenizer.Encode(row.GetProperty("prompt").GetString()!);
            Assert.Equal(TokenizerGolden.Ids(row, "ids")[..ids.Length], ids);
        }
    }

    /// <summary>Ranks every way to put a token together by the token's score.</summary>
    private static Tokenizer Adapt(string file)
    {
        using var reader = new BinaryReader(File.OpenRead(file));
        reader.ReadInt32();             // the longest token
        var tokens = new List<(string Text, float Score)>();
        while (reader.BaseStream.Position < reader.BaseStream.Length)
        {
            var score = reader.ReadSingle();
            tokens.Add((System.Text.Encoding.UTF8.GetString(reader.ReadBytes(reader.ReadInt32())), score));
        }
        var vocabulary = tokens.Select((token, id) => (token.Text, id)).ToDictionary(pair => pair.Text, pair => pair.id);
        var merges = tokens.Where(token => token.Text.Length > 1).OrderByDescending(token => token.Score)
            .SelectMany(token => Enumerable.Range(1, token.Text.Length - 1).Select(at => new[] { token.Text[..at], token.Text[at..] }))
            .Where(pair => pair.All(vocabulary.ContainsKey));
        object begin = new { SpecialToken = new { id = "<s>", type_id = 0 } }, text = new { Sequence = new { id = "A", type_id = 0 } };
        return Tokenizer.FromJson(JsonSerializer.SerializeToUtf8Bytes(new
        {
            version = "1.0",
            normalizer = new { type = "Prepend", prepend = " " },
            post_processor = new
            {
                type = "TemplateProcessing",
                single = new[] { begin, text },
                pair = new[] { begin, text },
                special_tokens = new Dictionary<string, object>
                {
                    ["<s>"] = new
                    {
                        id = "<s>",
                        ids = new[] { 1 },
                        tokens = new[] { "<s>" }
                    }
                }
            },
            model = new { type = "BPE", unk_token = "<unk>", byte_fallback = true, vocab = vocabulary, merges },
        }));
    }
}
