using System.Text.Json;
using Handbook.Testing;
using Handbook.Text.Tests.Tokenizers;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Fuzz;

/// <summary>Damaged files of tokenizers, and texts through what still loads.</summary>
[Trait("kind", "fuzz")]
public sealed class TokenizerFuzzTests
{
    private static readonly string[] s_texts =
        ["", "a", "The quick brown fox's 12345 jumps!\n\n  x", "é\u0301 中文 ab aab <s> [UNK] \u2581 \0\uFFFF 😀👍🏽 ½ ١", new('a', 2000),
            string.Concat(Enumerable.Repeat("ab 1 ", 300)), new(' ', 500)];

    private static readonly string[] s_words =
    [
        "BPE", "Unigram", "WordPiece", "WordLevel", "NFC", "NFKD", "Lowercase", "Strip", "Replace", "Prepend", "BertNormalizer", "Nmt",
        "Precompiled", "Sequence", "ByteLevel", "Metaspace", "Whitespace", "Split", "Digits", "Punctuation", "CharDelimiterSplit",
        "UnicodeScripts", "FixedLength", "TemplateProcessing", "RobertaProcessing", "BertProcessing", "Fuse", "ByteFallback", "WordPiece",
        "CTC", "BPEDecoder", "MergedWithNext", "Isolated", "Removed", "Contiguous", "always", "first", "never", "(a+)+$", "(?<=a*)b", "\\p{L}+",
        "(?i:x|y)*", "[[:alpha:]&&[a-f]]", "((((((", "a{1,999999}", "(?!a)*", "\\1", "▁", "Ġ", "##", "<0x41>", "</w>", "\uD83D", "\0",
    ];

    [Fact]
    public void A_damaged_tokenizer_json_gives_an_answer_or_a_message() => FuzzRun.Over("tokenizer.json", Seeds(), s_words, 1500, json =>
        Try(Tokenizer.FromJson(json)));

    [Fact]
    public void A_damaged_configuration_gives_an_answer_or_a_message()
    {
        using var folder = new TemporaryFolder();
        Some.ByteTokenizer().Save(folder.Path);
        FuzzRun.Over("tokenizer_config.json", [File.ReadAllBytes(folder["tokenizer_config.json"]), .. s_configs.Select(Bytes)],
            ["add_bos_token", "chat_template", "added_tokens_decoder", "<|end|>", "a", "eos_token"], 500, json =>
            {
                File.WriteAllBytes(folder["tokenizer_config.json"], json);
                Try(Tokenizer.Load(folder.Path));
            });
    }

    [Fact]
    public void A_damaged_model_file_gives_an_answer_or_a_message()
    {
        using var folder = new TemporaryFolder();
        FuzzRun.Over("tokenizer.model", [.. SentencePieces.All(), Bytes("YQ== 0\nYg== 1\nYWI= 2\nIA== 3\n")],
            ["\x0a\x05\x0a\x01", "▁", "YQ== 7\n"], 1500, bytes =>
            {
                File.WriteAllBytes(folder["tokenizer.model"], bytes);
                File.WriteAllText(folder["tokenizer_config.json"], s_configs[bytes.Length % s_configs.Length]);
                Try(Tokenizer.Load(folder.Path));
            });
    }

    [Fact]
    public void A_damaged_tekken_file_gives_an_answer_or_a_message()
    {
        using var folder = new TemporaryFolder();
        FuzzRun.Over("tekken.json", [Tekken.File([.. "ab "u8, .. "c"u8], ["ab", "abc", " a"]),
            Tekken.File("ab"u8.ToArray(), ["ab"], special: null, version: "v3")],
            ["token_bytes", "YQ==", "rank", "special_tokens", "is_control", "default_vocab_size", "v11", "<s>", "-1"], 300, bytes =>
            {
                File.WriteAllBytes(folder["tekken.json"], bytes);
                Try(Tokenizer.Load(folder.Path));
            });
    }

    [Fact]
    public void Damaged_vocabularies_give_an_answer_or_a_message()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["tokenizer_config.json"], """{"tokenizer_class": "GPT2Tokenizer"}""");
        FuzzRun.Over("vocab.json", [Bytes("""{"a": 0, "b": 1, "ab": 2, "\u0120": 3, "\u0120a": 4}""")], ["\"a\": 0", "-1", "\\ud83d"], 400,
            bytes =>
            {
                File.WriteAllBytes(folder["vocab.json"], bytes);
                File.WriteAllText(folder["merges.txt"], bytes.Length % 2 == 0 ? "#version: 0.2\na b\n\u0120 a\n" : "a b");
                Try(Tokenizer.Load(folder.Path));
            });
        File.Delete(folder["vocab.json"]);
        File.Delete(folder["tokenizer_config.json"]);
        FuzzRun.Over("vocab.txt", [Bytes("[UNK]\n[CLS]\n[SEP]\n[PAD]\na\n##a\nb\n")], ["[CLS]", "\n", "##"], 400, bytes =>
        {
            File.WriteAllBytes(folder["vocab.txt"], bytes);
            Try(Tokenizer.Load(folder.Path));
        });
    }

    /// <summary>Small tokenizers of every kind: those of the shared folder where it is there, and some of our own.</summary>
    private static List<byte[]> Seeds()
    {
        List<byte[]> seeds = [Some.Json(), Some.Json(rest: """
            "normalizer":{"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Replace","pattern":{"Regex":"\\s+"},"content":" "}]},
            "pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\p{L}+|\\p{N}{1,3}|[^\\s]"},"behavior":"Isolated","invert":false},
            "decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"}]}
            """), Some.Json("""{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.5],["ab",-2],["▁",-3]],"byte_fallback":false}""")];
        if (SharedFiles.Root is { } root && Path.Combine(root, "tokenizers", "components", "tokenizers.json") is var file && File.Exists(file))
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(file));
            seeds.AddRange(document.RootElement.GetProperty("items").EnumerateArray()
                .Select(item => JsonSerializer.SerializeToUtf8Bytes(item.GetProperty("tokenizer"))).Where(json => json.Length < 20_000));
        }
        return seeds;
    }

    private static readonly string[] s_configs =
    [
        "{}", """{"tokenizer_class": "LlamaTokenizer"}""", """{"tokenizer_class": "GemmaTokenizer"}""",
        """{"tokenizer_class": "LlamaTokenizer", "legacy": false, "add_bos_token": false, "add_eos_token": true}""",
        """{"tokenizer_class": "AlbertTokenizer"}""", """{"bos_token": "<s>", "extra_special_tokens": ["a"], "split_special_tokens": true}""",
    ];

    /// <summary>Everything that a tokenizer does; what it refuses is an answer, too.</summary>
    private static void Try(Tokenizer tokenizer)
    {
        foreach (var text in s_texts)
        {
            int[] ids = [];
            Answers(() => ids = tokenizer.Encode(text));
            Answers(() => tokenizer.EncodeFully(text, "b a", addSpecialTokens: true));
            Answers(() => tokenizer.Decode(ids, skipSpecialTokens: true));
        }
        Answers(() => tokenizer.Decode([0, 3, 1, -1, int.MaxValue, tokenizer.VocabularySize, 2]));
        Answers(() => _ = tokenizer.Parts);
    }

    private static void Answers(Action act)
    {
        try
        {
            act();
        }
        catch (Handbook.Base.InputException)
        {
            // A message for the user.
        }
    }

    private static byte[] Bytes(string text) => System.Text.Encoding.UTF8.GetBytes(text);
}
