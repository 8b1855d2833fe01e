using System.Text.Json;
using Handbook.Base;
using Handbook.Data;
using Handbook.Data.Cache;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Data.Tests;
using Handbook.Data.Tokenizing;
using Handbook.Runs;
using Handbook.Tests.Recipes;
using Handbook.Training.Methods;
using Handbook.Training.Plans;

namespace Handbook.Tests.Data.Preferences;

public sealed class PreferenceMixingTests : IDisposable
{
    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Fact]
    public void Pairs_taken_apart_come_as_good_answers_then_bad_ones_in_blocks_of_a_thousand_pairs()
    {
        var path = _files.Write("pairs.jsonl", string.Concat(Enumerable.Range(0, 1500).Select(i =>
            i == 3 ? "{broken\n" : $$"""{"prompt": "p{{i}} ", "chosen": "c{{i}}", "rejected": "r{{i}}"}""" + "\n")));
        using var data = Load(path, new() { Shape = AnswerShape.Single }, RowUse.Unpaired);
        int[] usable = [.. Enumerable.Range(0, 1500).Where(i => i != 3)];
        string[] expected =
        [
            .. usable[..999].Select(i => $"p{i} c{i}"), .. usable[..999].Select(i => $"p{i} r{i}"),
            .. usable[999..].Select(i => $"p{i} c{i}"), .. usable[999..].Select(i => $"p{i} r{i}"),
        ];
        Assert.Equal(expected, Enumerable.Range(0, data.Train.Count).Select(i => TextMaker.Text(data.Train.Read(i))));
        Assert.Equal((1500, 2998, 1), ((int)data.Sources[0].Summary.SourceRows, data.TrainSamples, (int)data.Sources[0].Summary.BadCount));
    }

    [Fact]
    public void Mismatched_answers_come_from_the_row_before_and_the_first_row_s_from_the_last_of_the_block()
    {
        var rows = new TokenRowList([.. Enumerable.Range(0, 5).Select(i =>
            AnswerTree.Build([new(i % 2 == 0 ? SegmentRole.Chosen : SegmentRole.Rejected, [10 + i], [20 + i, 2])], margin: i))]);
        var mismatched = new MismatchedRows(rows, blockSize: 2);
        Assert.Equal([21, 20, 23, 22, 24], Enumerable.Range(0, 5).Select(i => mismatched.Read(i).Segments[2].Ids.Span[0]));
        Assert.All(Enumerable.Range(0, 5), i =>
        {
            var row = mismatched.Read(i);
            Assert.Equal((SegmentRole.Mismatched, 0), (row.Segments[2].Role, row.Segments[2].Parent));
            Assert.Equal((row.TokenCount, (double)i), (mismatched.Length(i), row.Margin));
        });
        Assert.Equal([2, 2], new MismatchedRows(rows, 2, Rules(3)).Read(0).Segments.Skip(1).Select(segment => segment.Ids.Length));
        Assert.Single(new MismatchedRows(rows, 2, Rules(2)).Read(0).Segments[2].Ids.ToArray());
        Assert.StartsWith("KTO's mismatched pairs come from blocks of 1 row",
            Assert.Throws<InputException>(() => new MismatchedRows(rows, 1)).What);
    }

    [Theory]
    [InlineData("""{"prompt": "p", "chosen": "same", "rejected": "same"}""",
        "is left to train on:\n    1 × chosen and rejected are the same", "give pairs whose answers differ")]
    [InlineData("""{"prompt": "p", "chosen": "", "rejected": "r"}""",
        "1 of 1 rows cannot be used (100.0 %, at most 5.0 % may be):\n    1 × empty answer", "remove the rows whose answer is empty")]
    [InlineData("""{"prompt": "p", "chosen": "long enough", "rejected": "r"}""", "1 × no answer token left after cutting",
        "raise max_length")]
    public void Rows_that_are_all_left_out_are_told_with_the_cure_of_their_reason(string row, string message, string fix)
    {
        var path = _files.Write("pairs.jsonl", row + "\n");
        var problem = Assert.Throws<InputException>(() => Load(path, new() { MaxLength = 1 }, RowUse.Preferences));
        Assert.Contains(message, problem.What);
        Assert.StartsWith(fix, problem.Fix);
    }

    [Fact] // the second answer has 6 tokens: 2 fit behind its own prompt, 5 behind the first one
    public void A_mismatched_answer_is_cut_behind_its_new_prompt_and_not_behind_its_own()
    {
        var rules = Rules(6);
        var mismatched = new MismatchedRows(new TokenRowList([Row([5], [20, 2]), Row([5, 6, 7, 8], [21, 22, 23, 24, 25, 2])]), 2, rules);
        Assert.Equal([21, 22], mismatched.Read(1).Segments[1].Ids.ToArray());
        Assert.Equal([21, 22, 23, 24, 25], mismatched.Read(0).Segments[2].Ids.ToArray());
        Assert.Equal([20, 2], mismatched.Read(1).Segments[2].Ids.ToArray());
        Assert.All(Enumerable.Range(0, 2),
            i => Assert.DoesNotContain(mismatched.Read(i).Segments, segment => segment.Role == SegmentRole.Uncut));

        TokenRow Row(int[] prompt, int[] answer) =>
            AnswerTree.WithUncut(AnswerTree.Build(rules.Apply([new(SegmentRole.Chosen, prompt, answer)], out _)), rules.Uncut(answer));
    }

    [Fact] // the end is kept: [5 6 7 8 | 20 2] of 6 tokens; behind the longer answer the prompt keeps only its last token
    public void A_prompt_that_is_cut_otherwise_for_the_mismatched_answer_stands_by_itself()
    {
        var rules = new AnswerRules(new() { MaxLength = 6, KeepsEnd = true, KeepsUncut = true }, begin: null, end: 2);
        int[][] answers = [[20, 2], [21, 22, 23, 24, 2]];
        var mismatched =
            new MismatchedRows(new TokenRowList([.. answers.Select(answer =>
            AnswerTree.Build(rules.Apply([new(SegmentRole.Chosen, [5, 6, 7, 8], answer)], out _)))]), 2, rules);
        Assert.Equal([(SegmentRole.Prompt, -1, "5 6 7 8"), (SegmentRole.Chosen, 0, "20 2"), (SegmentRole.Prompt, -1, "8"),
            (SegmentRole.Mismatched, 2, "21 22 23 24 2")],
            mismatched.Read(0).Segments.Select(segment => (segment.Role, segment.Parent, string.Join(' ', segment.Ids.ToArray()))));
    }

    [Theory, InlineData("0.24"), InlineData("1.9")]
    public void Mismatched_rows_are_those_of_the_reference_trainer_in_blocks_whatever_was_cut(string release)
    {
        foreach (var golden in GoldenCases.Read("kto_mismatched.json"))
        {
            int? begin = golden.GetProperty("begin").ValueKind == JsonValueKind.Null ? null : golden.GetProperty("begin").GetInt32();
            var options = release == "0.24"
                ? new PreferenceTokenizerOptions
                {
                    AddsBegin = true,
                    End = AnswerEnding.IfMissing,
                    Cut = AnswerCut.BeforeSpecialTokens,
                    KeepsBegin = false,
                    KeepsEnd = golden.GetProperty("keep_end").GetBoolean(),
                    MaxPromptLength = golden.GetProperty("max_prompt_length").GetInt32()
                }
                // there the text has its end token before it is tokenised
                : new PreferenceTokenizerOptions { End = AnswerEnding.IfMissing, Cut = AnswerCut.Sequence, KeepsBegin = false };
            var rules = new AnswerRules(options with { MaxLength = golden.GetProperty("max_length").GetInt32() }, begin,
                golden.GetProperty("end").GetInt32());
            var rows = golden.GetProperty("rows").EnumerateArray()
                .Select(row => (Raw: row.Ints("completion"),
                Cut: rules.Apply([new(SegmentRole.Chosen, row.Ints("prompt"), row.Ints("completion"))], out _)[0]))
                .Where(row => AnswerRules.HasTarget(row.Cut))
                    .Select(row => AnswerTree.WithUncut(AnswerTree.Build([row.Cut]), rules.Uncut(row.Raw))).ToArray();
            var mismatched = new MismatchedRows(new TokenRowList(rows), golden.GetProperty("block").GetInt32(), rules);
            Check(golden.GetProperty(release).GetProperty("rows"), SegmentRole.Chosen);
            Check(golden.GetProperty(release).GetProperty("kl"), SegmentRole.Mismatched);

            void Check(JsonElement expected, SegmentRole role)
            {
                Assert.Equal(expected.GetArrayLength(), rows.Length);
                for (var i = 0; i < rows.Length; i++)
                {
                    var row = mismatched.Read(i);
                    var answer = row.Segments.Single(segment => segment.Role == role);
                    int[] prompt = answer.Parent < 0 ? [] : row.Segments[answer.Parent].Ids.ToArray();
                    Assert.Equal(expected[i].Ints("whole"), (int[])[.. prompt, .. answer.Ids.ToArray()]);
                    Assert.Equal(expected[i].GetProperty("prompt").GetInt32(), prompt.Length);
                }
            }
        }
    }

    [Fact]
    public void Held_out_rows_exchange_answers_in_blocks_of_the_training_batch()
    {
        var path = _files.Write("d.jsonl",
            string.Concat(Enumerable.Range(0, 7)
            .Select(i => $$"""{"prompt": "p{{i}} ", "completion": "c{{i}}", "label": {{(i % 2 == 0 ? "true" : "false")}}}""" + "\n")));
        var recipe = RecipeFile.Load($"model_name_or_path: m\ndataset_name: {path}\ndataset_test_split: train[:5]\ndataset_train_split: "
            + "train[5:]\neval_strategy: epoch\nbf16: false\nper_device_train_batch_size: 2\nper_device_eval_batch_size: 8\n",
            TrainingMethod.Kto);
        using var data = TrainingData.Load(RowPlan.Options(recipe, TextMaker.Bytes) with { Cache = _files.Cache },
            cancel: TestContext.Current.CancellationToken);
        Assert.Equal(["c1", "c0", "c3", "c2", "c4"],
            Enumerable.Range(0, 5).Select(i => TextMaker.Bytes.Decode(data.Evaluation!.Read(i).Segments[^1].Ids.Span[..^1])));
        Assert.All(Enumerable.Range(0, 5), i => Assert.Equal(SegmentRole.Mismatched, data.Evaluation!.Read(i).Segments[^1].Role));
        Assert.Equal(["c6", "c5"],
            Enumerable.Range(0, 2).Select(i => TextMaker.Bytes.Decode(data.Train.Read(i).Segments[^1].Ids.Span[..^1])));
    }

    [Fact]
    public void Held_out_rows_that_are_all_left_out_are_told_with_their_reasons()
    {
        var path = _files.Write("d.jsonl", string.Concat(Enumerable.Range(0, 10).Select(i =>
            $$"""{"prompt": "{{new string('p', i == 0 ? 2 : 60)}}{{i}}", "chosen": "c", "rejected": "r"}""" + "\n")));
        var recipe = RecipeFile.Load($"model_name_or_path: m\ndataset_mixture: {{datasets: [{{id: {path}}}], test_split_size: 2, seed: 1}}\n"
            + "eval_strategy: epoch\nbf16: false\nmax_length: 20\n", TrainingMethod.Dpo);
        using var data = TrainingData.Load(RowPlan.Options(recipe, TextMaker.Bytes) with { Cache = _files.Cache },
            cancel: TestContext.Current.CancellationToken);
        var problem = Assert.Throws<InputException>(() => RunRows.Require(recipe, data));
        Assert.StartsWith($"{path} [train]: not one of the 2 rows to hold out is left to evaluate on; rows are left out for:\n    9 × no answer "
            + "token left after cutting, e.g. ", problem.What);
        Assert.StartsWith("raise max_length", problem.Fix);
        Assert.Equal("test_split_size", problem.Key);
    }

    [Theory]
    [InlineData("per_device_train_batch_size: 4\ngradient_accumulation_steps: 8\nper_device_eval_batch_size: 1\n", 32)]
    [InlineData("per_device_train_batch_size: 1\ngradient_accumulation_steps: 8\n", 8)]           // the step is the group
    [InlineData("per_device_train_batch_size: 4\ngradient_accumulation_steps: 8\nper_device_eval_batch_size: 1\ntrl_compat: \"1.9\"\n", 4)]
    [InlineData("per_device_train_batch_size: 4\nloss_type: apo_zero_unpaired\n", null)]
    public void Answers_are_exchanged_within_a_step_or_a_micro_batch_of_a_release(string lines, int? block)
    {
        var recipe = RecipeFile.Load(RecipeFile.Good + lines, TrainingMethod.Kto);
        Assert.Equal(block, recipe.Definition.MismatchedBlock(recipe));
    }

    [Fact]
    public void A_length_for_answers_alone_has_no_effect_where_the_reference_trainer_ignores_it()
    {
        Assert.Equal(9, Options("dataset_name: d\nmax_completion_length: 9\n", TrainingMethod.Kto).MaxCompletionLength);
        Assert.Equal(9,
            Options("dataset_name: d\nmax_completion_length: 9\ntrl_compat: \"0.24\"\n", TrainingMethod.Dpo).MaxCompletionLength);
        Assert.Null(Options("dataset_name: d\nmax_completion_length: 9\ntrl_compat: \"0.24\"\n", TrainingMethod.Kto).MaxCompletionLength);
        Assert.Contains("max_completion_length has no effect with trl_compat: \"0.24\"",
            RecipeFile.Said(RecipeFile.Good + "max_completion_length: 9\ntrl_compat: \"0.24\"\n", TrainingMethod.Orpo));
    }

    [Fact]
    public void Margins_are_kept_in_the_cache()
    {
        var path = _files.Write("pairs.jsonl", """{"prompt": "p", "chosen": "c", "rejected": "r", "margin": 0.1}""" + "\n"
            + """{"prompt": "p", "chosen": "c", "rejected": "r", "margin": -3}""" + "\n");
        for (var i = 0; i < 2; i++)
        {
            using var data = Load(path, new(), RowUse.Preferences);
            Assert.Equal([0.1, -3], new[] { data.Train.Read(0).Margin, data.Train.Read(1).Margin });
        }
    }

    [Fact]
    public void Number_27_every_option_of_a_recipe_that_changes_tokens_changes_the_cache_s_key()
    {
        string[] variants =
        [
            "", "max_length: 99\n", "max_prompt_length: 9\n", "max_completion_length: 9\n", "truncation_mode: keep_end\n",
                "trl_compat: \"0.24\"\n", "trl_compat: \"1.9\"\n",
            "chat_template: \"{{ messages }}\"\n", "eos_token: \"<begin>\"\n", "tools: [{name: f}]\n",
                "column_mapping: {rejected: prompt}\n",
        ];
        var path = _files.Write("pairs.jsonl", """{"prompt": "p", "chosen": "c", "rejected": "r"}""" + "\n");
        var keys = variants.Select(variant => Key(variant, TrainingMethod.Dpo)).Append(Key("", TrainingMethod.Orpo))
            .Append(Key("orpo_nll: completion\n", TrainingMethod.Orpo))
            .Append(Key("", TrainingMethod.Kto)).Append(Key("", TrainingMethod.Reward)).Append(Key("", TrainingMethod.Grpo)).ToArray();
        Assert.Equal(keys.Length, keys.Distinct().Count());
        Assert.Equal(keys[0], Key("", TrainingMethod.Dpo));
        Assert.Equal(keys[0], Key("beta: 0.3\nlearning_rate: 1.0e-5\n", TrainingMethod.Dpo));
        File.AppendAllText(path, """{"prompt": "p", "chosen": "c", "rejected": "other"}""" + "\n");
        Assert.NotEqual(keys[0], Key("", TrainingMethod.Dpo));

        string Key(string lines, TrainingMethod method)
        {
            var recipe = RecipeFile.Load($"model_name_or_path: m\ndataset_name: {path}\nbf16: false\n{Needed(method)}{lines}", method);
            var tokenizer = TextMaker.Bytes.With(recipe.Data.EosToken, null,
                recipe.Data.ChatTemplate ?? Handbook.Text.Templates.ChatTemplate.Zephyr);
            var options = RowPlan.Options(recipe, tokenizer);
            var source = Dataset.Open(recipe.Mixture.Datasets[0]);
            var reader = RowReader.For(source, recipe.Mixture.Datasets[0], options.Use, answersAreLastTurns: options.Answers!.RendersParts);
            return new TokenCache(_files.Cache).Key(source, new PreferenceTokenizer(reader, tokenizer, options.Chats, options.Answers),
                RowSelection.All);
        }
    }

    [Theory]
    [InlineData(TrainingMethod.Dpo, "", AnswerEncoding.Whole, false, AnswerEnding.Once, AnswerCut.Sequence, false)]
    [InlineData(TrainingMethod.Dpo, "trl_compat: \"0.24\"\n", AnswerEncoding.Separate, false, AnswerEnding.Always, AnswerCut.Sequence,
        true)]
    [InlineData(TrainingMethod.Dpo, "trl_compat: \"1.9\"\n", AnswerEncoding.Tail, false, AnswerEnding.Texts, AnswerCut.Sequence, false)]
    [InlineData(TrainingMethod.Kto, "", AnswerEncoding.Whole, false, AnswerEnding.Once, AnswerCut.Sequence, false)]
    [InlineData(TrainingMethod.Orpo, "", AnswerEncoding.Whole, true, AnswerEnding.Once, AnswerCut.Sequence, false)]
    [InlineData(TrainingMethod.Orpo, "trl_compat: \"0.24\"\n", AnswerEncoding.JointByLength, true, AnswerEnding.IfMissing,
        AnswerCut.LongestAnswer, true)]
    [InlineData(TrainingMethod.Cpo, "trl_compat: \"1.9\"\n", AnswerEncoding.JointByLength, true, AnswerEnding.IfMissing,
        AnswerCut.LengthLessLongest, false)]
    [InlineData(TrainingMethod.Kto, "trl_compat: \"0.24\"\n", AnswerEncoding.JointByLength, true, AnswerEnding.IfMissing,
        AnswerCut.BeforeSpecialTokens, true)]
    [InlineData(TrainingMethod.Kto, "trl_compat: \"1.9\"\n", AnswerEncoding.Tail, false, AnswerEnding.Texts, AnswerCut.Sequence, false)]
    [InlineData(TrainingMethod.Bco, "trl_compat: \"1.9\"\n", AnswerEncoding.JointByLength, true, AnswerEnding.IfMissing,
        AnswerCut.AnswerOnly, false)]
    public void Each_method_and_release_has_its_rules(TrainingMethod method, string lines, AnswerEncoding encoding, bool addsBegin,
        AnswerEnding end, AnswerCut cut, bool keepsEnd)
    {
        var options = Options("dataset_name: d\n" + lines, method);
        Assert.Equal((encoding, addsBegin, end, cut, keepsEnd),
            (options.Encoding, options.AddsBegin, options.End, options.Cut, options.KeepsEnd));
        Assert.Equal(lines.Length > 0, options.KeepsEqualPairs);
        Assert.Equal(lines.Length == 0, options.KeepsBegin);
    }

    [Theory, InlineData(TrainingMethod.Dpo), InlineData(TrainingMethod.Orpo)]
    public void The_first_revision_has_its_own_rules_and_lengths(TrainingMethod method)
    {
        var options = Options("dataset_mixer:\n  d: 1.0\n", method);
        Assert.Equal((true, true, AnswerEncoding.Joint, AnswerEnding.Always, AnswerCut.LongestAnswer),
            (options.RendersParts, options.AddsBegin, options.Encoding, options.End, options.Cut));
        Assert.Equal((512, 128, true, (int?)null), (options.MaxLength, options.MaxPromptLength, options.KeepsEnd, options.PromptLimit));
        Assert.Equal(method == TrainingMethod.Orpo ? 100 : null,
            Options("dataset_mixer:\n  d: 1.0\nmax_prompt_length: 100\n", method).PromptLimit);
    }

    [Fact]
    public void Reward_rows_are_whole_and_prompts_are_alone()
    {
        Assert.Equal((AnswerShape.Whole, AnswerCut.LeaveOut),
            (Options("dataset_name: d\n", TrainingMethod.Reward).Shape, Options("dataset_name: d\n", TrainingMethod.Reward).Cut));
        Assert.Equal(AnswerShape.Prompt, Options("dataset_name: d\n", TrainingMethod.Grpo).Shape);
        Assert.Equal((true, false), (Options("dataset_name: d\n", TrainingMethod.Orpo).PromptsCarryLoss,
            Options("dataset_name: d\norpo_nll: completion\n", TrainingMethod.Orpo).PromptsCarryLoss));
    }

    private static PreferenceTokenizerOptions Options(string lines, TrainingMethod method)
    {
        var recipe = RecipeFile.Load($"model_name_or_path: m\nbf16: false\n{Needed(method)}{lines}", method);
        return recipe.Definition.Answers(recipe)!;
    }

    /// <summary>What a recipe of the method must say beside its data.</summary>
    private static string Needed(TrainingMethod method) => method == TrainingMethod.Grpo
        ? "reward_funcs: exact_match\nper_device_train_batch_size: 8\n" : "per_device_train_batch_size: 2\n";

    private static AnswerRules Rules(int maxLength) => new(new() { MaxLength = maxLength, KeepsUncut = true }, begin: null, end: 2);

    private TrainingData Load(string path, PreferenceTokenizerOptions options, RowUse use) => TrainingData.Load(new()
    {
        Mixture = new() { Dialect = MixtureDialect.Single, Datasets = [new() { Id = path }] },
        Tokenizer = TextMaker.Bytes,
        Use = use,
        Answers = options,
        Cache = _files.Cache,
    }, cancel: TestContext.Current.CancellationToken);
}
