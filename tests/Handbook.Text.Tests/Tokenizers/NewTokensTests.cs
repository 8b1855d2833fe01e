using Handbook.Base;
using Handbook.Testing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Tokenizers;

public sealed class NewTokensTests
{
    [Fact]
    public void New_tokens_get_the_next_ids_and_are_found_in_texts_before_and_after_saving()
    {
        using var folder = new TemporaryFolder();
        var tokenizer = Some.ByteTokenizer().WithTokens(ChatFormat.Tokens, ChatFormat.Roles);
        tokenizer.Save(folder.Path);
        foreach (var one in new[] { tokenizer, Tokenizer.Load(folder.Path) })
        {
            Assert.Equal([257, 258], one.Encode("<|im_start|><|im_end|>"));
            Assert.Equal((257, 258, 258, 259), (one.BosId, one.EosId, one.PadId, one.VocabularySize));
            Assert.Equal("", one.Decode([257, 258], skipSpecialTokens: true));
            Assert.Equal([0], one.Encode("<|end|>"));
        }
        Assert.Equal(tokenizer.Fingerprint, Tokenizer.Load(folder.Path).Fingerprint);
    }

    [Fact]
    public void Tokens_of_the_configuration_keep_their_ids()
    {
        using var folder = new TemporaryFolder();
        Some.ByteTokenizer().Save(folder.Path);
        File.WriteAllText(folder["tokenizer_config.json"], """
            {"eos_token": "<|end|>", "added_tokens_decoder": {"0": {"content": "<|end|>", "special": true}, "257": {"content": "<x>"}}}
            """);
        var tokenizer = Tokenizer.Load(folder.Path).WithTokens(["<y>"]);
        tokenizer.Save(folder["saved"]);
        Assert.Equal([257, 258], tokenizer.Encode("<x><y>"));
        Assert.Equal([257, 258], Tokenizer.Load(folder["saved"]).Encode("<x><y>"));
    }

    [Fact]
    public void A_token_of_the_vocabulary_becomes_special_under_its_id()
    {
        var tokenizer = Tokenizer.FromJson(Some.Json()).WithTokens(["ab"]);
        Assert.Equal((2, true, 3), (tokenizer.TokenToId("ab"), tokenizer.IsSpecial(2), tokenizer.VocabularySize));
    }

    [Fact]
    public void Templates_and_names_that_were_set_before_stay()
    {
        var tokenizer = Some.ByteTokenizer().With(padToken: "<|end|>", chatTemplate: "{{ 1 }}").WithTokens(["<x>"]);
        Assert.Equal(("{{ 1 }}", 0), (tokenizer.ChatTemplate, tokenizer.PadId));
    }

    [Fact] // the third of two tokens has the id that a new one would get
    public void A_new_token_that_would_take_the_id_of_another_is_refused() =>
        Assert.Contains("a new token would get the id 3, which \"c\" has", Assert.Throws<InputException>(() => Tokenizer.FromJson(Some.Json(
            """{"type":"WordLevel","unk_token":"a","vocab":{"a":0,"b":1,"c":3}}""")).WithTokens(["<x>"])).Message);

    [Fact]
    public void An_empty_token_is_refused() =>
        Assert.StartsWith("a token to add is empty", Assert.Throws<InputException>(() => Some.ByteTokenizer().WithTokens([""])).Message);
}
