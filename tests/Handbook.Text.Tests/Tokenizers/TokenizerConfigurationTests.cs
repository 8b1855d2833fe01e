using Handbook.Base;
using Handbook.Testing;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>What the files beside tokenizer.json change.</summary>
public sealed class TokenizerConfigurationTests : IDisposable
{
    private const string Post = """
        "post_processor":{"type":"TemplateProcessing",
        "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
        "pair":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],
        "special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}}
        """;

    /// <summary>Both tokens around each text.</summary>
    private const string Both = """{"bos_token":"<s>","eos_token":"</s>","add_bos_token":true,"add_eos_token":true}""";

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("""{"bos_token":"<s>","eos_token":"</s>"}""", "1 3")]
    [InlineData("""{"bos_token":"<s>","eos_token":"</s>","add_bos_token":true,"add_eos_token":false}""", "1 3")]
    [InlineData("""{"bos_token":"<s>","eos_token":"</s>","add_bos_token":false,"add_eos_token":true}""", "3 2")]
    [InlineData("""{"bos_token":"<s>","eos_token":"</s>","add_bos_token":true,"add_eos_token":true}""", "1 3 2")]
    [InlineData("""{"bos_token":"<s>","eos_token":"</s>","add_bos_token":false}""", "3")]
    [InlineData("""{"bos_token":"<s>","eos_token":"</s>","add_eos_token":true}""", "3 2")]
    [InlineData("""{"bos_token":"<s>","eos_token":"</s>","add_bos_token":null}""", "3")]
    [InlineData("""{"bos_token":null,"eos_token":"</s>","add_bos_token":true,"add_eos_token":false}""", "3")]
    public void Where_a_configuration_says_add_bos_or_add_eos_it_decides_what_stands_around_a_text(string config, string ids)
    {
        Assert.Equal(ids, Ids(Open(config).Encode("a")));
        Assert.Equal(Ids(Open(config).Encode("a")), Ids(Open(config).EncodeWithOffsets("a").Ids));
    }

    [Theory]
    [InlineData("""{"tokenizer_class":"GPT2Tokenizer","add_prefix_space":true}""", "Ġ a")]
    [InlineData("""{"tokenizer_class":"GPT2TokenizerFast","add_prefix_space":true}""", "Ġ a")]
    [InlineData("""{"tokenizer_class":"GPT2Tokenizer","add_prefix_space":false}""", "a")]
    [InlineData("""{"tokenizer_class":"GPT2Tokenizer"}""", "a")]
    [InlineData("""{"tokenizer_class":"PreTrainedTokenizerFast","add_prefix_space":true}""", "a")]
    public void A_class_of_gpt2s_kind_puts_a_space_before_a_text_as_its_configuration_says(string config, string tokens)
    {
        Some.ByteTokenizer().Save(_folder.Path);
        var plain = Tokenizer.Load(_folder.Path);
        File.WriteAllText(_folder["tokenizer_config.json"], config);
        var tokenizer = Tokenizer.Load(_folder.Path);
        Assert.Equal(tokens, string.Join(' ', tokenizer.Encode("a").Select(tokenizer.IdToToken)));
        Assert.Equal(config.Contains("GPT2", StringComparison.Ordinal) && config.Contains("add_prefix", StringComparison.Ordinal),
            tokenizer.Fingerprint != plain.Fingerprint);
    }

    [Fact]
    public void A_pair_of_texts_gets_the_configured_tokens_around_each()
    {
        var encoded = Open(Both).EncodeFully("a", "b", addSpecialTokens: true);
        Assert.Equal(("1 3 2 1 4 2", "0 0 0 1 1 1"), (Ids(encoded.Ids), Ids(encoded.TypeIds)));
    }

    [Fact]
    public void Tokens_of_the_configuration_that_tokenizer_json_lacks_are_added_with_their_ids()
    {
        var tokenizer = Open("""
            {"eos_token":"<|end|>",
            "added_tokens_decoder":{"7":{"content":"<|start|>","special":true},"8":{"content":"<|end|>","special":true}}}
            """);
        Assert.Equal("1 7 3 8", Ids(tokenizer.Encode("<|start|>a<|end|>")));
        Assert.Equal((8, 9), (tokenizer.EosId, tokenizer.VocabularySize));
        Assert.Equal("a", tokenizer.Decode([7, 3, 8], skipSpecialTokens: true));
    }

    [Fact]
    public void A_token_whose_id_would_be_another_is_refused()
    {
        const string config = """{"added_tokens_decoder":{"9":{"content":"<x>","special":true}}}""";
        Assert.StartsWith("tokenizer_config.json gives the token \"<x>\" the id 9, but the vocabulary of tokenizer.json gives it 7",
            Assert.Throws<InputException>(() => Open(config)).Message);
    }

    [Fact] // by hand: with lstrip the space before the token belongs to it
    public void The_configuration_decides_the_flags_of_a_token_that_tokenizer_json_has_too()
    {
        Assert.Equal("1 3 5 2", Ids(Open("{}").Encode("a </s>")));
        const string config = """{"added_tokens_decoder":{"2":{"content":"</s>","lstrip":true,"special":true}}}""";
        Assert.Equal("1 3 2", Ids(Open(config).Encode("a </s>")));
    }

    [Fact] // by hand: <x> is the first new token (7) and, being ordinary, is matched after normalization and kept when decoding
    public void The_file_added_tokens_json_adds_ordinary_tokens_and_special_ones_where_they_have_a_role()
    {
        File.WriteAllText(_folder["added_tokens.json"], """{"<x>": 7, "<pad>": 8}""");
        var tokenizer = Open("""{"pad_token":"<pad>"}""");
        Assert.Equal("1 7 8", Ids(tokenizer.Encode("<x><pad>")));
        Assert.Equal("<x>", tokenizer.Decode([7, 8], skipSpecialTokens: true));
        tokenizer.Save(_folder["saved"]);
        Assert.Equal("1 7 8", Ids(Tokenizer.Load(_folder["saved"]).Encode("<x><pad>")));
    }

    [Theory]
    [InlineData("""{"additional_special_tokens":["<x>","<y>"]}""", "1 7 8")]
    [InlineData("""{"extra_special_tokens":["<x>",{"content":"<y>","lstrip":false}]}""", "1 7 8")]
    [InlineData("""{"extra_special_tokens":{"x_token":"<x>","y_token":"<y>"}}""", "1 7 8")]
    [InlineData("""{"image_token":"<x>","audio_token":"<y>"}""", "1 7 8")]
    [InlineData("""{"extra_special_tokens":["<x>"],"additional_special_tokens":["<y>"]}""", "1 7 6")]
    public void Special_tokens_of_every_name_are_added_and_the_newer_name_counts(string config, string ids)
    {
        var tokenizer = Open(config);
        Assert.Equal(ids, Ids(tokenizer.Encode("<x><y>")));
        Assert.True(tokenizer.IsSpecial(7));
    }

    [Fact] // "ab" is a piece of the vocabulary; named, it is cut out of texts and skipped as any special token
    public void A_named_token_of_the_vocabulary_becomes_a_special_token()
    {
        var tokenizer = Open("""{"pad_token":"b"}""");
        Assert.Equal("1 3 4", Ids(tokenizer.Encode("ab")));
        Assert.Equal("a", tokenizer.Decode([3, 4], skipSpecialTokens: true));
        Assert.Equal("1 0", Ids(Open("{}").Encode("ab")));
    }

    [Fact]
    public void The_special_tokens_map_counts_only_where_the_configuration_lists_no_added_tokens()
    {
        File.WriteAllText(_folder["special_tokens_map.json"], """
            {"eos_token":{"content":"<s>","lstrip":false,"normalized":false,"rstrip":false},"additional_special_tokens":["<x>"]}
            """);
        Assert.Equal(1, Open("""{"eos_token":"</s>"}""").EosId);
        Assert.Equal(7, Open("""{"eos_token":"</s>"}""").TokenToId("<x>"));
        Assert.Equal(2, Open("""{"eos_token":"</s>","added_tokens_decoder":{}}""").EosId);
        Assert.Null(Open("""{"eos_token":"</s>","added_tokens_decoder":{}}""").TokenToId("<x>"));
    }

    [Theory, InlineData("eos_token"), InlineData("bos_token"), InlineData("pad_token"), InlineData("unk_token")]
    public void A_named_token_that_is_nowhere_in_the_vocabulary_stops_loading(string role)
    {
        var failure = Assert.Throws<InputException>(() => Open($$"""{"{{role}}":"<|im_end|>"}"""));
        Assert.StartsWith($"tokenizer_config.json: {role} \"<|im_end|>\" is not in the vocabulary, nor among the added tokens\n  why: ",
            failure.Message);
        Assert.Contains("name one of the vocabulary, e.g. \"<s>\", \"</s>\", or list it in added_tokens_decoder", failure.Message);
    }

    [Theory]
    [InlineData("""{"added_tokens_decoder":[]}""", "added_tokens_decoder is not a table of ids and tokens")]
    [InlineData("""{"added_tokens_decoder":{"x":{"content":"a"}}}""", "added_tokens_decoder.x is not a token under its id")]
    [InlineData("""{"added_tokens_decoder":{"7":{"content":3}}}""", "added_tokens_decoder.7.content is 3, but must be a text")]
    [InlineData("""{"added_tokens_decoder":{"7":{"content":"<x>","lstrip":"no"}}}""",
        "added_tokens_decoder.7.lstrip is \"no\", but must be true or false")]
    [InlineData("""{"eos_token":5}""", "eos_token is 5, but must be a token")]
    [InlineData("""{"extra_special_tokens":[5]}""", "extra_special_tokens[0] is 5, but must be a token")]
    [InlineData("""{"add_bos_token":"yes"}""", "add_bos_token is \"yes\", but must be true or false")]
    [InlineData("""{"fix_mistral_regex":true}""", "fix_mistral_regex is true, but the repaired pattern is not put in here")]
    public void A_mistake_in_the_configuration_is_named_with_its_place(string config, string message) =>
        Assert.StartsWith($"tokenizer_config.json: {message}", Assert.Throws<InputException>(() => Open(config)).Message);

    [Fact]
    public void With_split_special_tokens_a_special_token_in_a_text_is_text()
    {
        Assert.Equal("1 2", Ids(Open("""{"split_special_tokens":false}""").Encode("</s>")));
        Assert.Equal("1 6", Ids(Open("""{"split_special_tokens":true}""").Encode("</s>")));
    }

    [Fact]
    public void Cleaning_up_is_one_replacement_after_the_other()
    {
        var random = new Random(3);
        const string letters = "   .?!,''nmstvred";
        for (var round = 0; round < 20_000; round++)
        {
            var text = new string([.. Enumerable.Range(0, random.Next(12)).Select(_ => letters[random.Next(letters.Length)])]);
            var expected = text.Replace(" .", ".").Replace(" ?", "?").Replace(" !", "!").Replace(" ,", ",").Replace(" ' ", "'")
                .Replace(" n't", "n't").Replace(" 'm", "'m").Replace(" 's", "'s").Replace(" 've", "'ve").Replace(" 're", "'re");
            Assert.Equal((text, expected), (text, TokenizerRules.CleanUp(text)));
        }
    }

    [Fact] // BPE models write their spaces themselves
    public void Decoded_text_is_cleaned_up_where_the_configuration_says_so_but_not_that_of_bpe()
    {
        const string words = """
            {"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,
            "vocab":{"[UNK]":0,"do":1,"n't":2,"!":3}}
            """;
        const string insists = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output";
        Assert.Equal("do n't !", Open("""{"clean_up_tokenization_spaces":false}""", words).Decode([1, 2, 3]));
        Assert.Equal("don't!", Open("""{"clean_up_tokenization_spaces":true}""", words).Decode([1, 2, 3]));
        const string pairs = """{"type":"BPE","vocab":{"a":0,"!":1},"merges":[]}""";
        Assert.Equal("a !", Open("""{"clean_up_tokenization_spaces":true}""", pairs).Decode([0, 1]));
        Assert.Equal("a!", Open($$"""{"clean_up_tokenization_spaces":true,"{{insists}}":true}""", pairs).Decode([0, 1]));
    }

    [Fact]
    public void The_fingerprint_follows_every_change_of_ids_and_no_other()
    {
        var plain = Open("{}").Fingerprint;
        Assert.Equal(plain, Open("""{"bos_token":"<s>","add_bos_token":true,"model_max_length":5}""").Fingerprint);
        string[] changes = ["""{"eos_token":"</s>","add_eos_token":true}""", """{"pad_token":"a"}""", """{"split_special_tokens":true}""",
            """{"extra_special_tokens":["<x>"]}"""];
        Assert.Equal(5, changes.Select(config => Open(config).Fingerprint).Append(plain).Distinct().Count());
    }

    [Fact]
    public void A_text_that_brings_its_begin_or_end_token_gets_no_second_one()
    {
        var tokenizer = Open(Both);
        Assert.Equal("1 1 3 2 2", Ids(tokenizer.Encode("<s>a</s>")));
        Assert.Equal("1 3 2", Ids(tokenizer.EncodeOnce("<s>a</s>")));
        Assert.Equal("1 3 2", Ids(tokenizer.EncodeOnce("a")));
        Assert.Equal("1 2", Ids(tokenizer.EncodeOnce("<s>")));
        Assert.Equal("3", Ids(tokenizer.EncodeOnce("a", addSpecialTokens: false)));
    }

    [Fact]
    public void A_prompt_gets_nothing_behind_it()
    {
        var tokenizer = Open(Both);
        Assert.Equal("1 3", Ids(tokenizer.EncodePrompt("a")));
        Assert.Equal("1 3", Ids(tokenizer.EncodePrompt("<s>a")));
        Assert.Equal("1 3 2", Ids(tokenizer.EncodePrompt("a</s>")));
        Assert.Equal("1", Ids(tokenizer.EncodePrompt("")));
    }

    /// <summary>Seven tokens: ab 0, &lt;s&gt; 1, &lt;/s&gt; 2, a 3, b 4, space 5, ? 6 for anything else.</summary>
    private Tokenizer Open(string config, string? model = null)
    {
        File.WriteAllBytes(_folder["tokenizer.json"], model is not null ? Some.Json(model) : System.Text.Encoding.UTF8.GetBytes($$"""
            {"version":"1.0","added_tokens":[{{Added(1, "<s>")}},{{Added(2, "</s>")}}],{{Post}},
            "model":{"type":"BPE","unk_token":"?","fuse_unk":true,
            "vocab":{"ab":0,"<s>":1,"</s>":2,"a":3,"b":4," ":5,"?":6},"merges":["a b"]} }
            """));
        File.WriteAllText(_folder["tokenizer_config.json"], config);
        return Tokenizer.Load(_folder.Path);
    }

    private static string Added(int id, string content) =>
        $$"""{"id":{{id}},"content":"{{content}}","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}""";

    private static string Ids(IEnumerable<int> ids) => string.Join(' ', ids);
}
