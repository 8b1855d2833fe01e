using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Evaluation.Instructions;
using Handbook.Testing;

namespace Handbook.Tests.Evaluation;

public sealed class InstructionChecksTests
{
    [Fact]
    public void All_25_kinds_are_known() => Assert.Equal(25, InstructionChecks.Kinds.Count);

    [Theory]
    [InlineData("keywords:existence", """{"keywords": ["sun", "Moon"]}""", "The moon and the SUN", "The sun alone")]
    [InlineData("keywords:frequency", """{"keyword": "cat", "frequency": 2, "relation": "at least"}""", "Cat, cats", "one cat")]
    [InlineData("keywords:frequency", """{"keyword": "cat", "frequency": 2, "relation": "less than"}""", "one cat", "Cat, cats")]
    [InlineData("keywords:forbidden_words", """{"forbidden_words": ["can"]}""", "I canoe", "I Can")]
    [InlineData("keywords:letter_frequency", """{"letter": "Q", "let_frequency": 2, "let_relation": "at least"}""", "Quick quiz", "quick")]
    [InlineData("length_constraints:number_sentences", """{"relation": "less than", "num_sentences": 3}""", "One. Two!", "One. Two! Three?")]
    [InlineData("length_constraints:number_sentences", """{"relation": "at least", "num_sentences": 2}""", "Yes. No.", "Mr. Fox met Dr. Owl at 3.5 p.m. today")]
    [InlineData("length_constraints:number_paragraphs", """{"num_paragraphs": 2}""", "one\n***\ntwo", "one\n\ntwo")]
    [InlineData("length_constraints:number_paragraphs", """{"num_paragraphs": 2}""", "***one***two***", "one *** *** two")]
    [InlineData("length_constraints:number_words", """{"relation": "at least", "num_words": 3}""", "one-two three", "one two")]
    [InlineData("length_constraints:nth_paragraph_first_word", """{"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Firms"}""", "a\n\n\"Firms, b", "a\n\nb firms")]
    [InlineData("detectable_content:number_placeholders", """{"num_placeholders": 2}""", "[name] at [place]", "[name]")]
    [InlineData("detectable_content:postscript", """{"postscript_marker": "P.S."}""", "Bye.\nP. S. more", "Bye. PS more")]
    [InlineData("detectable_content:postscript", """{"postscript_marker": "P.P.S"}""", "Bye.\nP.P.S more", "Bye.\nP.S. more")]
    [InlineData("detectable_format:number_bullet_lists", """{"num_bullets": 2}""", "* one\n- two", "* one\n** two\n* three\n- four")]
    [InlineData("detectable_format:constrained_response", "{}", "Well: My answer is no.", "no")]
    [InlineData("detectable_format:number_highlighted_sections", """{"num_highlights": 2}""", "*one* and *two*", "*one* and * *")]
    [InlineData("detectable_format:multiple_sections", """{"section_spliter": "Day", "num_sections": 2}""", "Day 1\na\nDay 2\nb", "Day one, Day 2")]
    [InlineData("detectable_format:json_format", "{}", "```json\n{\"a\": [1]}\n```", "a: 1")]
    [InlineData("detectable_format:title", "{}", "<<A title>>\ntext", "<< >>")]
    [InlineData("combination:two_responses", "{}", "one\n******\ntwo", "one\n******\none")]
    [InlineData("combination:repeat_prompt", """{"prompt_to_repeat": "Say it."}""", " say it. It.", "It. Say it.")]
    [InlineData("startend:end_checker", """{"end_phrase": "The end."}""", "… THE END.\"", "The end. Really")]
    [InlineData("startend:quotation", "{}", " \"all of it\" ", "\"some\" of it")]
    [InlineData("change_case:capital_word_frequency", """{"capital_frequency": 2, "capital_relation": "at least"}""", "NASA and USA", "NASA and Usa")]
    [InlineData("change_case:english_capital", "{}", "THIS IS AN ENGLISH SENTENCE ABOUT THE WEATHER.", "THIS IS An English sentence about the weather.")]
    [InlineData("change_case:english_lowercase", "{}", "this is an english sentence about the weather.", "this is An English sentence about the weather.")]
    [InlineData("change_case:english_lowercase", "{}", "what a lovely day this has been for all of us.", "das ist ein deutscher satz über das wetter von heute.")]
    [InlineData("punctuation:no_comma", "{}", "none here", "one, here")]
    [InlineData("language:response_language", """{"language": "de"}""", "Das ist ein deutscher Satz über das Wetter.", "This is an English sentence.")]
    [InlineData("language:response_language", """{"language": "kn"}""", "ಇದು ಕನ್ನಡ ವಾಕ್ಯ", "This is an English sentence.")]
    public void An_answer_follows_an_instruction_or_does_not(string kind, string arguments, string yes, string no)
    {
        var given = new InstructionArguments(JsonDocument.Parse(arguments).RootElement, "here");
        Assert.True(InstructionChecks.Strict(kind, given, yes), yes);
        Assert.False(InstructionChecks.Strict(kind, given, no), no);
        Assert.False(InstructionChecks.Strict(kind, given, "  "));
    }

    [Theory]
    [InlineData("""["keywords:existence"]""", """[{"keywords": ["sun", "c++"]}]""", "has a word that is no regular expression")]
    [InlineData("""["keywords:forbidden_words"]""", """[{"forbidden_words": ["sun", 5]}]""", "forbidden_words that is a list of words")]
    [InlineData("""["keywords:letter_frequency"]""", """[{"letter": " ", "let_frequency": 2, "let_relation": "at least"}]""", "letter that is a letter")]
    [InlineData("""["language:response_language"]""", """[{"language": 5}]""", "language that is a text")]
    [InlineData("""["startend:quotes"]""", "[{}]", "did you mean startend:quotation?")]
    [InlineData("[5]", "[{}]", "a list of names")]
    public void A_row_with_a_wrong_instruction_is_told_before_anything_is_asked(string kinds, string arguments, string expected)
    {
        var row = JsonDocument.Parse($$"""{"instruction_id_list": {{kinds}}, "kwargs": {{arguments}}}""").RootElement;
        var problem = Assert.Throws<InputException>(() => InstructionMeasures.Require(new() { Number = 0, Place = "rows:1", Row = row }));
        Assert.StartsWith("rows:1: ", problem.What);
        Assert.Contains(expected, problem.Message);
    }

    [Fact]
    public void Loose_looks_past_a_first_or_last_line_and_asterisks()
    {
        var given = new InstructionArguments(JsonDocument.Parse("{}").RootElement, "here");
        Assert.False(InstructionChecks.Strict("startend:quotation", given, "Sure:\n\"all of it\""));
        Assert.True(InstructionChecks.Loose("startend:quotation", given, "Sure:\n\"all of it\""));
        Assert.True(InstructionChecks.Loose("startend:quotation", given, "Sure:\n**\"all of it\"**\nBye"));
        Assert.False(InstructionChecks.Loose("startend:quotation", given, "one\ntwo\n\"all of it\""));
    }

    [Fact]
    public void Every_instruction_of_the_541_prompts_is_understood()
    {
        var (prompts, refused) = (0, new SortedSet<string>());
        foreach (var row in Dataset.Open(new DatasetSpec { Id = SharedFiles.Need("data", "ifeval", "input_data.jsonl") }).Read())
        {
            prompts++;
            var arguments = row.Value.GetProperty("kwargs").EnumerateArray().ToArray();
            foreach (var (kind, i) in row.Value.GetProperty("instruction_id_list").EnumerateArray().Select((kind, i) => (kind.GetString()!, i)))
                try
                {
                    _ = InstructionChecks.Loose(kind, new(arguments[i], row.Place), "A plain answer.\n\nOf two paragraphs.");
                }
                catch (InputException problem)
                {
                    refused.Add(problem.What);
                }
        }
        Assert.Equal(541, prompts);
        Assert.Equal(["the language ne cannot be told here"], refused);
    }
}
