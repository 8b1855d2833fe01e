using System.IO.Compression;
using Handbook.Base;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Training;

namespace Handbook.Text.Tests.Tokenizers;

public sealed class TokenizerErrorTests
{
    [Fact]
    public void A_file_that_is_not_JSON_is_refused_with_line_and_column() =>
        Refused("""t.json:2:7 is not JSON: no value begins like this""", () => Tokenizer.FromJson("{\n \"a\": x }"u8, "t.json"),
            prefix: true);

    [Fact]
    public void A_file_without_a_model_is_refused() =>
        Refused("""t.json has no "model" """.TrimEnd(), () => Tokenizer.FromJson("""{"version":"1.0"}"""u8, "t.json"));

    [Fact]
    public void A_model_of_an_unknown_type_is_refused_by_name() =>
        Refused("""t.json.model.type is "Foo", which is not a known model""", Load(Some.Json("""{"type":"Foo","vocab":{}}""")));

    [Fact]
    public void A_merge_outside_the_vocabulary_is_refused_with_its_index() =>
        Refused("""t.json.model.merges[1] ("a" + "z") needs token "z", which is not in the vocabulary""",
            Load(Some.Json("""{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b",["a","z"]]}""")));

    [Fact]
    public void A_merge_of_three_words_is_refused() =>
        Refused("""t.json.model.merges[0] is "a b c", but a merge is two tokens with one space between them""",
            Load(Some.Json("""{"type":"BPE","vocab":{"a":0},"merges":["a b c"]}""")));

    [Fact]
    public void A_vocabulary_that_is_no_object_is_refused() =>
        Refused("""t.json.model.vocab is ["a"], but must be an object of token to id""",
            Load(Some.Json("""{"type":"BPE","vocab":["a"],"merges":[]}""")));

    [Fact]
    public void An_id_that_is_no_number_is_refused_with_its_token() =>
        Refused("""t.json.model.vocab gives token "a" the id "x", but ids are whole numbers of at least 0""",
            Load(Some.Json("""{"type":"BPE","vocab":{"a":"x"},"merges":[]}""")));

    [Fact]
    public void An_id_far_beyond_the_vocabulary_is_refused() =>
        Refused("""t.json.model.vocab gives token "a" the id 2000000000, but it has only 1 tokens""",
            Load(Some.Json("""{"type":"BPE","vocab":{"a":2000000000},"merges":[]}""")));

    [Fact]
    public void An_unknown_pre_tokenizer_is_refused_with_its_place() =>
        Refused("""t.json.pre_tokenizer.pretokenizers[1].type is "Magic", which is not a known pre-tokenizer""",
            Load(Some.Json(rest: """ "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Whitespace"},{"type":"Magic"}]}""")));

    [Fact]
    public void A_bad_regular_expression_is_refused_with_its_position() =>
        Refused("t.json.pre_tokenizer.pattern.Regex is not a regular expression, at character 3: this group is never closed\n    "
            + "a|(b\n      ^",
            Load(Some.Json(rest: """ "pre_tokenizer":{"type":"Split","pattern":{"Regex":"a|(b"},"behavior":"Isolated","invert":false}""")));

    [Fact]
    public void Dropout_is_refused() =>
        Refused("t.json.model.dropout is 0.1", Load(Some.Json("""{"type":"BPE","dropout":0.1,"vocab":{"a":0},"merges":[]}""")));

    [Fact]
    public void A_missing_setting_is_named() =>
        Refused("""t.json.normalizer has no "strip_right" """.TrimEnd(),
            Load(Some.Json(rest: """ "normalizer":{"type":"Strip","strip_left":true}""")));

    [Fact]
    public void A_file_that_is_cut_off_is_refused()
    {
        using var folder = new TemporaryFolder();
        var bytes = new MemoryStream();
        using (var gzip = new GZipStream(bytes, CompressionMode.Compress, leaveOpen: true))
            gzip.Write(Some.Json());
        File.WriteAllBytes(folder["tokenizer.json.gz"], bytes.ToArray()[..^20]);
        Refused($"{folder["tokenizer.json.gz"]} is not a whole gzip file", () => Tokenizer.Load(folder.Path));
    }

    [Fact]
    public void A_folder_without_a_tokenizer_is_refused_with_the_cure()
    {
        using var folder = new TemporaryFolder();
        var failure = Refused($"{folder.Path} holds no tokenizer.json", () => Tokenizer.Load(folder.Path));
        Assert.Contains("name the folder of the model", failure.Fix);
    }

    [Fact]
    public void A_broken_configuration_is_refused_by_its_own_name()
    {
        using var folder = new TemporaryFolder();
        Some.ByteTokenizer().Save(folder.Path);
        File.WriteAllText(folder["tokenizer_config.json"], "[]");
        Refused($"{folder["tokenizer_config.json"]} is [], but must be an object", () => Tokenizer.Load(folder.Path));
    }

    [Fact]
    public void A_changed_token_must_be_in_the_vocabulary() =>
        Refused("""eos_token "<none>" is not in the vocabulary of tokenizer.json""", () => Some.ByteTokenizer().With(eosToken: "<none>"));

    [Fact]
    public void A_vocabulary_too_small_for_the_bytes_is_refused() =>
        Refused("vocabulary size 200 is too small", () => BpeTrainer.Train(["text"], new() { VocabularySize = 200 }));

    [Fact]
    public void Ids_outside_the_vocabulary_decode_to_nothing()
    {
        var tokenizer = Some.ByteTokenizer();
        int[] ids = [-1, .. tokenizer.Encode("ok"), 9999];
        Assert.Equal("ok", tokenizer.Decode(ids));
        Assert.Null(tokenizer.IdToToken(-1));
    }

    private static Action Load(byte[] json) => () => Tokenizer.FromJson(json, "t.json");

    private static InputException Refused(string what, Action act, bool prefix = false)
    {
        var failure = Assert.IsType<InputException>(Record.Exception(act), exactMatch: false);
        if (prefix)
            Assert.StartsWith(what, failure.What);
        else
            Assert.Equal(what, failure.What);
        return failure;
    }
}
