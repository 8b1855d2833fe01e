using System.Text;
using Handbook.Models.Generation;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Training;

namespace Handbook.Models.Tests.Generation;

public sealed class AnswerTextTests
{
    // One id a byte, so that every character beyond ASCII needs several.
    private static readonly Tokenizer Bytes = BpeTrainer.Train(["x"], new BpeTrainerOptions { VocabularySize = 257, EosToken = "<|end|>" });

    [Fact]
    public void Half_a_character_waits_for_its_rest()
    {
        var text = new AnswerText(Bytes, []);
        Assert.Equal(["a", "", "é", "", "", "", "😀", "b"], Bytes.Encode("aé😀b").Select(text.Append));
        Assert.Equal("", text.Finish());
        Assert.Equal("aé😀b", text.Text);
    }

    [Fact]
    public void A_stop_text_and_what_follows_are_left_out()
    {
        var text = new AnswerText(Bytes, ["END", "\n\n"]);
        var shown = new StringBuilder();
        foreach (var id in Bytes.Encode("so\nEN d. ENDless"))
            shown.Append(text.Append(id));
        shown.Append(text.Finish());
        Assert.True(text.Stopped);
        Assert.Equal("so\nEN d. ", shown.ToString());
        Assert.Equal("so\nEN d. ", text.Text);
    }

    [Fact]
    public void The_beginning_of_a_stop_text_is_shown_when_nothing_follows()
    {
        var text = new AnswerText(Bytes, ["END"]);
        Assert.Equal(["a", "", ""], Bytes.Encode("aEN").Select(text.Append));
        Assert.Equal("EN", text.Finish());
        Assert.False(text.Stopped);
    }

    [Fact]
    public void An_end_token_has_no_text()
    {
        var text = new AnswerText(Bytes, []);
        Assert.Equal(["a", "", "b"], Bytes.Encode("a<|end|>b").Select(text.Append));
    }
}
