using System.Text;
using Handbook.Base;
using Handbook.Data.Decontamination;
using Handbook.Testing;

namespace Handbook.Data.Tests.Decontamination;

/// <summary>Where reference texts come from: data sets, files of fingerprints, and the set that is built in.</summary>
public sealed class ReferenceSetTests : IDisposable
{
    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Fact] // of each of the 164 problems the description, and the solution but for the four that anybody would write
    public void The_built_in_set_is_what_the_published_file_gives()
    {
        var published = SharedFiles.Need("data/human-eval/HumanEval.jsonl.gz");
        var made = Load(new() { Id = published, Form = ReferenceForm.HumanEval });
        Assert.Equal(2 * 164 - 4, made.Texts.Count);
        Assert.Equal(FingerprintFile.ToText(made with { Name = "human-eval" }), FingerprintFile.ToText(Load(new() { Id = "human-eval" })));
    }

    [Fact]
    public void Nothing_that_the_problems_say_is_in_the_built_in_set()
    {
        var set = Load(new() { Id = "human-eval" });
        Assert.All(set.Texts, text => Assert.Matches(@"^HumanEval/\d+ (docstring|solution)$", text.Name));
        Assert.DoesNotContain("return", FingerprintFile.ToText(set), StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_of_fingerprints_finds_what_its_data_set_finds()
    {
        var rows = _files.Write("exam.jsonl", """{"question": "Which of the two moons of Mars is the larger one, and why?", "key": 1}""" + "\n");
        var options = new DecontaminationOptions { Ngrams = 6 };
        var set = ReferenceSet.Load(new() { Id = rows }, options, null);
        var path = Path.Combine(_files.Folder, "exam.fingerprints");
        FingerprintFile.Write(path, set);
        var read = ReferenceSet.Load(new() { Id = path }, options, null);
        Assert.Equal(FingerprintFile.ToText(set with { Name = path }), FingerprintFile.ToText(read));
        Assert.NotNull(new ReferenceIndex([read], 6, 0).Find("the two moons of mars is what"));
        Assert.Contains("has fingerprints of 6 words in a row, but ngrams is 13",
            Assert.Throws<InputException>(() => ReferenceSet.Load(new() { Id = path }, new(), null)).Message);
        File.AppendAllText(path, "{\"name\": 3}\n");
        Assert.Contains("exam.fingerprints:3 is no line of a file of fingerprints",
            Assert.Throws<InputException>(() => ReferenceSet.Load(new() { Id = path }, options, null)).Message);
        File.WriteAllText(path, "");
        Assert.Contains("exam.fingerprints:1 is no line", Assert.Throws<InputException>(() => ReferenceSet.Load(new() { Id = path }, options, null)).Message);
    }

    [Fact]
    public void Every_text_of_every_split_counts_unless_columns_or_a_split_are_named()
    {
        _files.Write("set/train.jsonl", Row("first question of the long set", "first answer of the long set") + "\n");
        _files.Write("set/test.jsonl", Row("second question of the long set", "second answer of the long set") + "\n");
        var folder = Path.Combine(_files.Folder, "set");
        Assert.Equal(4, Load(new() { Id = folder }).Texts.Count);
        Assert.Equal(2, Load(new() { Id = folder, Split = "test" }).Texts.Count);
        var named = Load(new() { Id = folder, Columns = ["q"] });
        Assert.Equal(["test.jsonl:1 q", "train.jsonl:1 q"], named.Texts.Select(text => Path.GetFileName(text.Name)).Order(StringComparer.Ordinal));

        static string Row(string question, string answer) => $$"""{"q": "{{question}}, which is so", "a": [{"content": "{{answer}}, which is so"}]}""";
    }

    [Theory]
    [InlineData("""{"a": "b"}""", null, null, "has no text to compare with (1 rows, 1 texts of fewer than 32 characters)")]
    [InlineData("""{"a": "b"}""", "c", null, "no row of rows.jsonl has the column c")]
    [InlineData("""{"a": "b"}""", null, "human_eval", "rows.jsonl:1: has no text in the column prompt")]
    [InlineData("""{"prompt": "def f(): pass", "canonical_solution": "x"}""", null, "human_eval",
        "rows.jsonl:1: prompt has no documentation between two marks of three quotes")]
    [InlineData("""{"a": """, null, null, "rows.jsonl:1: broken JSON")]
    public void What_nothing_can_be_compared_with_is_refused(string row, string? column, string? form, string message)
    {
        var path = _files.Write("rows.jsonl", row + "\n");
        var problem = Assert.Throws<InputException>(() => Load(new()
        { Id = path, Columns = column is null ? null : [column], Form = form is null ? ReferenceForm.Text : ReferenceForm.HumanEval }));
        Assert.Contains(message, problem.Message.Replace(_files.Folder + "/", ""));
        Assert.NotNull(problem.Fix);
    }

    private static ReferenceSet Load(ReferenceEntry entry) => ReferenceSet.Load(entry, new(), null);
}
