using System.Text.Json;
using System.Xml.Linq;
using Handbook.Cli.Tests.BadInput;

namespace Handbook.Cli.Tests;

/// <summary><c>handbook data</c>, and the recipe key that leaves rows out.</summary>
public sealed class DataCommandTests : IDisposable
{
    private const string Exam = "Name the river that runs through the capital of Austria, and the sea it ends in.";

    private readonly TinyRun _run = new();

    public DataCommandTests()
    {
        _run.Write("t.jsonl", string.Concat(Enumerable.Range(0, 40).Select(i => $$"""{"text": "number {{i}} is the answer to it"}""" + "\n")));
        _run.Write("exam.jsonl", JsonSerializer.Serialize(new { question = Exam, answer = "the Danube; the Black Sea" }) + "\n");
        _run.Write("more.jsonl", _run.Read("rows.jsonl") + JsonSerializer.Serialize(new
        { messages = new[] { new { role = "user", content = "Hi" }, new { role = "assistant", content = $"So:\n{Exam.ToUpperInvariant()}" } } }) + "\n");
    }

    public void Dispose() => _run.Dispose();

    [Fact]
    public void Rows_that_hold_a_reference_text_are_counted_shown_and_left_out()
    {
        var outcome = Data("decontaminate", "more.jsonl", "--against", "exam.jsonl", "--output", "clean.jsonl", "--report", "left.jsonl");
        Assert.Equal("""
            more.jsonl: 1 of 9 rows (11.11 %) hold one of the 1 reference texts of exam.jsonl (whole texts and 13 words in a row)
              more.jsonl:9 messages[1].content: whole text of exam.jsonl:1 question: name the river that runs through the capital of austria, and the sea it ends in.
            wrote 8 rows to clean.jsonl

            """, outcome.Output);
        Assert.Contains("note: exam.jsonl: 1 of 2 reference texts are shorter than --min-length 32 and than 13 words and are not looked for", outcome.Error);
        Assert.Equal(Rows("rows.jsonl"), Rows("clean.jsonl"));
        Assert.Equal("more.jsonl:9", JsonDocument.Parse(_run.Read("left.jsonl")).RootElement.GetProperty("row").GetString());
    }

    [Fact]
    public void Fingerprints_stand_for_a_set_that_is_not_shown()
    {
        Assert.StartsWith("exam.fingerprints: 1 texts; 1 are too short", Data("fingerprint", "exam.jsonl", "--output", "exam.fingerprints").Output);
        Assert.DoesNotContain("river", _run.Read("exam.fingerprints"));
        Assert.StartsWith("more.jsonl: 1 of 9 rows (11.11 %) hold one of the 1 reference texts of exam.fingerprints",
            Data("decontaminate", "more.jsonl", "--against", "exam.fingerprints").Output);
    }

    [Theory]
    [InlineData("no reference set is named", "decontaminate", "rows.jsonl")]
    [InlineData("--ngrams is 3, but must be 0, or from 5 to 100", "decontaminate", "rows.jsonl", "--against", "exam.jsonl", "--ngrams", "3")]
    [InlineData("--output names rows.jsonl, the file with the rows", "decontaminate", "rows.jsonl", "--against", "exam.jsonl", "--output", "rows.jsonl")]
    [InlineData("data set \"absent\" was not found", "decontaminate", "rows.jsonl", "--against", "absent")]
    [InlineData("--output is exam.txt, but must end with .fingerprints", "fingerprint", "exam.jsonl", "--output", "exam.txt")]
    [InlineData("--against-form is x, but must be text or human_eval", "decontaminate", "rows.jsonl", "--against", "exam.jsonl", "--against-form", "x")]
    [InlineData("--max-length is given without --tokenizer", "inspect", "rows.jsonl", "--max-length", "9")]
    [InlineData("--sample is 0", "inspect", "rows.jsonl", "--sample", "0")]
    [InlineData("--tokenizer, --config and --encoding are for a data set", "inspect", "r.yaml", "--tokenizer", "model")]
    [InlineData("--split other is no split that r.yaml reads", "inspect", "r.yaml", "--split", "other")]
    public void What_does_not_fit_together_is_refused(string message, params string[] words) =>
        _run.Refused(_run.Handbook.Run(["data", .. words]), message);

    [Fact]
    public void A_run_leaves_rows_out_and_says_which()
    {
        var recipe = TinyRun.Recipe.Replace("rows.jsonl", "more.jsonl") + "decontaminate: {against: [{id: exam.jsonl, columns: [question]}]}\n";
        _run.Write("r.yaml", recipe);
        var outcome = SmallModel.Succeed(_run.Sft());
        const string line = "decontamination against exam.jsonl (whole texts and 13 words in a row): 1 of 9 (11.11 %) training rows are left out: they "
            + "hold one of the 1 reference texts";
        Assert.Contains(line, outcome.Error);
        var left = JsonDocument.Parse(_run.Read("out/contaminated_rows.jsonl")).RootElement;
        Assert.Equal("more.jsonl [train] more.jsonl:9 messages[1].content exam.jsonl exam.jsonl:1 question whole text", string.Join(' ',
            new[] { "data", "row", "text", "reference", "reference_text", "shares" }.Select(name => left.GetProperty(name).GetString())));
        var info = JsonDocument.Parse(_run.Read("out/run.json")).RootElement.GetProperty("decontamination");
        Assert.Equal((9, 1), (info.GetProperty("train_rows").GetInt32(), info.GetProperty("train_left_out").GetInt32()));
        Assert.Contains("decontaminate:\n  against:\n    - {id: exam.jsonl", _run.Read("out/recipe.yaml"));
        Assert.Equal(0, _run.Handbook.Run("validate", "out/recipe.yaml", "--output_dir=other").Code);
        // the run without the key has the row, and no such file
        SmallModel.Succeed(_run.Sft("--decontaminate={against: []}", "--fresh=true"));
        Assert.False(File.Exists(_run.At("out/contaminated_rows.jsonl")));
    }

    [Fact] // the first revision's scripts always did it, before anybody wrote a key for it
    [Trait("speed", "slow")]
    public void Recipes_with_a_mixer_are_compared_with_HumanEval_unless_they_say_otherwise()
    {
        _run.Write("r.yaml", TinyRun.Recipe.Replace("dataset_name: rows.jsonl", "dataset_mixer: {rows.jsonl: 2.0}\ndataset_splits: [train]\npacking: false"));
        Assert.Contains("decontamination against human-eval (whole texts): 0 of 16 training rows hold one of the 324 reference texts",
            SmallModel.Succeed(_run.Sft()).Error);
        Assert.DoesNotContain("decontamination", SmallModel.Succeed(_run.Sft("--decontaminate.against=[]", "--output_dir=other")).Error);
        Assert.DoesNotContain("decontamination", SmallModel.Succeed(_run.Handbook.Run("cpt", "r.yaml", "--output_dir=cpt", "--dataset_mixer={t.jsonl: 1.0}",
            "--dataset_splits=[train]")).Error);
    }

    [Fact]
    public void A_survey_tells_what_rows_are_as_a_whole()
    {
        _run.Write("pairs.jsonl", string.Concat(Enumerable.Range(0, 20).Select(i => JsonSerializer.Serialize(new
        { prompt = $"number {i % 10}?", chosen = i == 3 ? "the same" : $" it is {i}, and that is a long answer", rejected = i == 3 ? "The same!" : $" it is {i}", id = i }) + "\n")));
        var outcome = Data("inspect", "pairs.jsonl", "--tokenizer", "model", "--max-length", "24", "--html", "page.html");
        foreach (var line in (string[])["pairs.jsonl [train]: 20 rows in 1 file, 0.0 MB, layout Preference", "note: not read: id",
            "10 of 20 prompts repeat an earlier one (50.0 %), e.g. rows 1 and 11", "0 of 20 rows repeat an earlier one, character by character",
            "20 pairs: the better answer is longer in 19 (95.0 %), shorter in 1 (5.0 %)", "warning: 1 pairs have the same answer twice",
            "e.g. pairs.jsonl:4", "warning: whoever takes the longer answer is right in 95 % of pairs", "── Length of rows ──", "Latin"])
            Assert.Contains(line, outcome.Output);
        var page = _run.Read("page.html");
        Assert.Contains("whoever takes the longer answer", page);
        Assert.DoesNotContain("<script", page);
        Assert.DoesNotMatch("(src|href)=\"(?!#)", page);
        // well-formed, every picture with a title, every table with a caption and heads
        var html = XDocument.Parse(page.Replace("<!DOCTYPE html>", "").Replace("<meta charset=\"utf-8\">", "")
            .Replace("initial-scale=1\">", "initial-scale=1\"/>").Replace("'unsafe-inline'\">", "'unsafe-inline'\"/>"));
        Assert.All(html.Descendants().Where(node => node.Name.LocalName == "svg"), svg =>
            Assert.Equal(("img", false), (svg.Attribute("role")?.Value, string.IsNullOrEmpty(svg.Elements().First().Value))));
        Assert.All(html.Descendants("table"), table => Assert.Equal(["caption", "thead", "tbody"], table.Elements().Select(part => part.Name.LocalName)));
        Assert.Equal("en", html.Root!.Attribute("lang")?.Value);
    }

    [Fact]
    public void A_survey_of_a_recipe_reads_what_its_run_reads()
    {
        _run.Write("rows.jsonl", _run.Read("rows.jsonl") + """{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}""" + "\nbroken\n");
        var outcome = Data("inspect", "r.yaml", "--against", "exam.jsonl");
        foreach (var line in (string[])["rows.jsonl [train]: 9 rows in 1 file, 0.0 MB, layout Messages", "warning: 1 cannot be read: broken JSON",
            "9 conversations of 2 to 2 turns, median 2", "warning: 1 have a role that speaks twice in a row", "end with assistant (8), user (1)",
            "0 rows are longer than max_length 64 and are cut", "every row gives something to learn", "0 of 9 rows hold one of the 1 reference texts"])
            Assert.Contains(line, outcome.Output);
    }

    [Fact]
    public void Columns_that_tell_no_layout_are_still_described()
    {
        _run.Write("odd.jsonl", """{"a": 1, "b": "Привет, мир"}""" + "\n" + """{"a": "x", "b": null}""" + "\n");
        var outcome = Data("inspect", "odd.jsonl");
        Assert.Contains("a       a number (1), a text (1)  2     0      1", outcome.Output);
        Assert.Contains("warning: odd.jsonl: has the columns a, b, but wanted are", outcome.Output);
        Assert.Contains("Cyrillic", outcome.Output);
    }

    [Fact] // roles are Latin words in every language
    public void A_script_is_that_of_what_is_said()
    {
        _run.Write("han.jsonl", """{"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好！"}]}""" + "\n"
            + """{"conversations": [{"from": "human", "value": "мир"}, {"from": "gpt", "value": "да"}]}""" + "\n");
        var scripts = Data("inspect", "han.jsonl").Output.Split("── Scripts ──")[1];
        Assert.Contains("Han ", scripts);
        Assert.DoesNotContain("Latin", scripts);
    }

    private Outcome Data(params string[] words) => SmallModel.Succeed(_run.Handbook.Run(["data", .. words]));

    private string[] Rows(string name) => [.. _run.Read(name).Split('\n', StringSplitOptions.RemoveEmptyEntries)
        .Select(line => JsonSerializer.Serialize(JsonDocument.Parse(line).RootElement))];
}
