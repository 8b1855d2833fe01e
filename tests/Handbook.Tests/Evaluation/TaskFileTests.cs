using Handbook.Base;
using Handbook.Data.Mixing;
using Handbook.Evaluation;
using Handbook.Testing;

namespace Handbook.Tests.Evaluation;

public sealed class TaskFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Every_built_in_task_is_whole()
    {
        Assert.Contains("gsm8k", BuiltInTasks.Names);
        foreach (var name in BuiltInTasks.Names)
        {
            var task = BuiltInTasks.Find(name, text => Assert.Fail(text));
            Assert.Equal(name, task.Name);
            Assert.NotEmpty(task.About);
            Assert.NotEmpty(task.Metrics);
        }
    }

    [Fact]
    public void A_file_says_everything_that_is_asked_and_measured()
    {
        var path = Write("choice.yaml", """
            task: choice
            dataset_path: json
            dataset_kwargs:
              data_files: {train: examples.jsonl, test: rows.jsonl}
            test_split: test
            fewshot_split: train
            output_type: multiple_choice
            description: "Answer.\n\n"
            doc_to_text: "{{q}}?"
            doc_to_choice: [yes, "{{other}}"]
            doc_to_target: gold
            num_fewshot: 2
            fewshot_config: {sampler: first_n}
            target_delimiter: "\t"
            fewshot_delimiter: "\n"
            metric_list:
              - metric: acc
                aggregation: mean
                higher_is_better: true
            should_decontaminate: true
            metadata: {version: 1.0}
            """);
        var notes = new List<string>();
        var task = TaskFile.Load(path, notes.Add);
        Assert.Equal(TaskKind.MultipleChoice, task.Kind);
        Assert.Equal(new DatasetSpec { Id = "rows.jsonl" }, task.Data);
        Assert.Equal(new DatasetSpec { Id = "examples.jsonl" }, task.FewShotData);
        Assert.Equal((2, true, "\t", "\n"), (task.FewShot, task.FirstExamples, task.TargetDelimiter, task.FewShotDelimiter));
        Assert.Equal(["acc"], task.Metrics.Select(metric => metric.Name));
        Assert.Equal(2, notes.Count);
        Assert.Contains(":20: should_decontaminate has no effect", notes[0]);
    }

    [Fact]
    public void Every_problem_of_a_file_is_told_at_once_with_its_line()
    {
        var path = Write("wrong.yaml", """
            task: wrong
            dataset_path: json
            output_typ: multiple_choice
            doc_to_text: !function utils.ask
            doc_to_target: "{{answer"
            process_results: !function utils.judge
            num_fewshot: many
            group: all
            """);
        var problem = Assert.Throws<InputException>(() => TaskFile.Load(path, _ => { }));
        Assert.Contains("wrong.yaml:3:1: error: output_typ is no key", problem.Message);
        Assert.Contains("did you mean output_type?", problem.Message);
        Assert.Contains("doc_to_text calls the Python function utils.ask", problem.Message);
        Assert.Contains("process_results calls the Python function utils.judge", problem.Message);
        Assert.Contains("wrong.yaml:8:1: error: group names a group of tasks", problem.Message);
        Assert.Contains("4 problems found", problem.Message);
    }

    [Theory]
    [InlineData("num_fewshot: many", "num_fewshot is many, but must be a whole number of at least 0")]
    [InlineData("output_type: guess", "output_type is guess, which is not known here")]
    [InlineData("metric_list: [{metric: bleu}]", "metric is bleu, which is not known here")]
    [InlineData("metric_list: [{metric: exact_match, aggregation: median}]", "aggregation of exact_match is median")]
    [InlineData("metric_list: [{metric: exact_match, regexes_to_ignore: ['(']}]", "regexes_to_ignore is no regular expression")]
    [InlineData("filter_list: [{name: a, filter: [{function: wave}]}]", "function is wave, which is not known here")]
    [InlineData("filter_list: [{name: a, filter: [{function: regex, regex_pattern: '['}]}]", "regex_pattern is no regular expression")]
    [InlineData("generation_kwargs: {until: [''], beams: 3}", "generation_kwargs.beams cannot be honoured here")]
    [InlineData("doc_to_choice: '{% if %}'", "doc_to_choice is no template")]
    [InlineData("dataset_kwargs: {data_files: [a.jsonl, b.jsonl]}", "data_files names no file")]
    [InlineData("fewshot_config: {sampler: balanced}", "sampler is balanced, which is not known here")]
    [InlineData("include: absent.yaml", "include names absent.yaml, which is not there")]
    [InlineData("doc_to_text: [a, b]", "doc_to_text is a column's name or a template")]
    public void A_wrong_value_names_its_key(string line, string expected)
    {
        var path = Write("value.yaml", $"task: value\ndoc_to_target: answer\n{(line.StartsWith("doc_to_text", StringComparison.Ordinal) ? "" : "doc_to_text: question\n")}{line}\n");
        var problem = Assert.Throws<InputException>(() => TaskFile.Load(path, _ => { }));
        Assert.Contains(expected, problem.Message);
        Assert.Contains("value.yaml:", problem.Message);
    }

    [Fact]
    public void What_changes_nothing_is_told_by_key_and_by_option()
    {
        var notes = new List<string>();
        var choice = TaskFile.Load(Write("choice.yaml", """
            task: choice
            dataset_path: rows.jsonl
            output_type: multiple_choice
            doc_to_text: q
            doc_to_choice: options
            doc_to_target: gold
            generation_kwargs: {max_gen_toks: 5}
            repeats: 3
            """), notes.Add);
        var texts = TaskFile.Load(Write("texts.yaml", "task: texts\noutput_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: text\n"
            + "description: 'Read this.'\n"), notes.Add);
        Assert.Equal(3, notes.Count);
        Assert.EndsWith("choice.yaml:7: generation_kwargs has no effect: no task of output_type multiple_choice reads it", notes[0]);
        Assert.Contains("choice.yaml:8: repeats", notes[1]);
        Assert.Contains("texts.yaml:5: description", notes[2]);

        var options = new EvaluationOptions
        {
            Model = null!,
            Observer = Handbook.Training.Progress.RunObservers.None,
            Tasks = [choice, texts],
            FewShot = 2,
            Temperature = 0.5,
            Chat = true,
            AllowCode = true,
        };
        Assert.Equal(
        [
            "--num-fewshot has no effect on texts: whole texts and pairs have no question before which examples stand",
            "--apply-chat-template has no effect on texts: whole texts and pairs are read as they are",
            "--temperature has no effect on choice, texts: no answer is drawn",
            "--allow-code has no effect on choice, texts: no code is run",
        ], options.WithoutEffect());
        Assert.Empty((options with { Tasks = [BuiltInTasks.Find("humaneval", _ => { })] }).WithoutEffect());
    }

    [Theory]
    [InlineData("gsm8k", 10, null, 512, "--max-length is 512, but an answer of gsm8k may have 512 tokens by itself")]
    [InlineData("gsm8k", 2, null, null, "2 answers to a prompt are asked for, which at temperature 0 are all the same")]
    [InlineData("humaneval", 1, 0.5, null, "add --allow-code")]
    public void What_cannot_be_answered_is_told_before_anything_is_asked(string task, int repeats, double? temperature, int? longest, string expected)
    {
        var options = new EvaluationOptions
        {
            Model = null!,
            Observer = Handbook.Training.Progress.RunObservers.None,
            Tasks = [],
            Repeats = repeats,
            Temperature = task == "gsm8k" && repeats == 10 ? 1 : temperature,
            MaxLength = longest,
        };
        Assert.Contains(expected, Assert.Throws<InputException>(() => GenerationWork.Require(options, BuiltInTasks.Find(task, _ => { }))).Message);
    }

    [Fact]
    public void Examples_may_stand_in_the_task_file()
    {
        var task = TaskFile.Load(Write("sums.yaml", """
            task: sums
            dataset_path: rows.jsonl
            doc_to_text: "Q: {{q}}\nA:"
            doc_to_target: "{{a}}"
            num_fewshot: 2
            fewshot_config:
              sampler: first_n
              samples:
                - q: 1 + 1?
                  a: 2
                - {q: 1 + 2?, a: "3"}
            """), _ => { });
        Write("rows.jsonl", """{"q": "2 + 2?", "a": "4"}""");
        var row = Handbook.Data.Sources.Dataset.Open(new DatasetSpec { Id = Path.Combine(_folder.Path, "rows.jsonl") }).Read().Single();
        Assert.Equal("Q: 1 + 1?\nA: 2\n\nQ: 1 + 2?\nA: 3\n\nQ: 2 + 2?\nA:",
            new QuestionMaker(task, task.Samples!, examplesAreRows: false, 1).Question(row, 0, 2).Context);
        var problem = Assert.Throws<InputException>(() => new QuestionMaker(task, task.Samples!, false, 1).Question(row, 0, 3));
        Assert.Contains("3 examples are asked for, but there are 2", problem.Message);
        var wrong = Write("wrong.yaml", "task: wrong\ndoc_to_text: q\ndoc_to_target: a\nfewshot_config: {samples: [one]}\n");
        Assert.Contains("samples is a list of examples", Assert.Throws<InputException>(() => TaskFile.Load(wrong, _ => { })).Message);
    }

    [Theory]
    [InlineData("page")]
    [InlineData("text")]
    public void Articles_of_WikiText_are_scored_without_the_blanks_around_their_marks(string column)
    {
        const string Article = """
             = The lake = 

             The boys ' lake ( in the north , by a " great " wood ) is 1 @,@ 200 m long , 3 @.@ 5 m deep and well @-@ known ; who saw it ? All did ! It 's 20 ° C : warm . 

             = = Its fish = = 

             = = = Pike = = = 

             A [ note ] of { N pikes } , ' many ' they say , and N more . 

            """;
        var task = BuiltInTasks.Find("wikitext", text => Assert.Fail(text));
        Write("rows.jsonl", System.Text.Json.JsonSerializer.Serialize(new Dictionary<string, string> { [column] = Article }));
        var row = Handbook.Data.Sources.Dataset.Open(new DatasetSpec { Id = Path.Combine(_folder.Path, "rows.jsonl") }).Read().Single();
        var question = new QuestionMaker(task, [], false, 1).Question(row, 0, 0);
        Assert.Equal(Article, question.Counted);
        // As Python's detokeniser of the evaluation harness writes it.
        Assert.Equal(" = The lake =\n\nThe boys'lake (in the north, by a \"great\" wood) is 1,200 m long, 3.5 m deep and well-known; who saw it? "
            + "All did! It's 20°C: warm.\n\n== Its fish ==\n\n=== Pike ===\n\nA [note] of {N pikes}, 'many' they say, and 1 more.\n", question.Targets[0]);
        var words = RowMeasures.Rolling(task.Metrics, question.Counted!, -1).Single(measure => measure.Metric == "word_perplexity");
        Assert.Equal([-1, 87], words.Values);
    }

    [Theory]
    [InlineData("""{"q": "a", "options": [], "gold": 0}""", "doc_to_choice of choice gives an empty list")]
    [InlineData("""{"q": "a", "options": ["b", "c"], "gold": []}""", "doc_to_target of choice gives an empty list")]
    [InlineData("""{"q": "a", "options": ["b", "c"], "gold": 2}""", "gives 2, which is none of the 2 answers")]
    public void A_row_without_answers_is_told(string row, string expected)
    {
        var task = TaskFile.Read("task: choice\noutput_type: multiple_choice\ndoc_to_text: q\ndoc_to_choice: options\ndoc_to_target: gold\n",
            "choice.yaml", null, _ => { });
        Write("rows.jsonl", row);
        var source = Handbook.Data.Sources.Dataset.Open(new DatasetSpec { Id = Path.Combine(_folder.Path, "rows.jsonl") }).Read().Single();
        var problem = Assert.Throws<InputException>(() => new QuestionMaker(task, [], true, 1).Question(source, 0, 0));
        Assert.Contains("rows.jsonl:1: ", problem.Message);
        Assert.Contains(expected, problem.Message);
    }

    [Fact]
    public void Several_tasks_in_one_word_are_taken_apart_in_the_message() =>
        Assert.Contains("--task gsm8k --task ifeval", Assert.Throws<InputException>(() => BuiltInTasks.Find("gsm8k,ifeval", _ => { })).Message);

    [Fact]
    public void A_file_that_includes_another_has_its_keys_where_it_has_none_of_its_own()
    {
        Write("base.yaml", "task: base\ndataset_path: rows.jsonl\ndoc_to_text: q\ndoc_to_target: a\nnum_fewshot: 3\n");
        var task = TaskFile.Load(Write("mine.yaml", "include: base.yaml\ntask: mine\nnum_fewshot: 0\n"), _ => { });
        Assert.Equal(("mine", 0, "rows.jsonl", "q"), (task.Name, task.FewShot, task.Data!.Id, task.Text!.Source));
        var circle = Write("circle.yaml", "include: circle.yaml\ntask: circle\n");
        Assert.Contains("include each other", Assert.Throws<InputException>(() => TaskFile.Load(circle, _ => { })).Message);
    }

    private string Write(string name, string text)
    {
        var path = Path.Combine(_folder.Path, name);
        File.WriteAllText(path, text);
        return path;
    }
}
