using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Tokenizing;
using Handbook.Testing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Tests.Preferences;

/// <summary>Every real set with preferences goes through reader, template and tokenizer, pairs and single answers alike.</summary>
public sealed class PreferenceSetsTests : IDisposable
{
    private readonly TextMaker _files = new();

    private static readonly Lazy<Tokenizer> s_tokenizer = new(() =>
        Tokenizer.Load(SharedFiles.Need("tokenizers", "smollm2")).With(eosToken: "<|endoftext|>"));

    public void Dispose() => _files.Dispose();

    /// <summary>Set, rows read, pairs used, column mapping.</summary>
    public static TheoryData<string, int, int, string> Sets => new()
    {
        { "hh-rlhf/test.jsonl.gz", 500, 499, "" },
        { "instructions-small/instruction-data-with-preference.json", 1100, 1094, "" },
        { "llamafactory-demo/dpo_en_demo.json", 300, 300, "" },
        { "llamafactory-demo/v1_dpo_demo.jsonl", 10, 10, "" },
        { "alpaca-eval-preferences/zephyr-7b-beta.json", 805, 802,
            "prompt=instruction chosen=output_1 rejected=output_2 preference=preference" },
        { "alpaca-eval-preferences/llama-2-7b-chat-hf.json", 805, 804,
            "prompt=instruction chosen=output_1 rejected=output_2 preference=preference" },
        { "persona-statements/agreeableness.jsonl", 1000, 1000,
            "prompt=question chosen=answer_matching_behavior rejected=answer_not_matching_behavior" },
        { "truthfulqa/mc_task.json", 817, 3369, "prompt=question answers=mc1_targets" },
        { "truthfulqa/TruthfulQA.csv", 817, 817, "prompt=Question;chosen=Best Answer;rejected=Incorrect Answers" },
    };

    [Fact, Trait("speed", "slow")]
    public void The_large_set_becomes_trees_too() => BecomeTrees("hh-rlhf/train.jsonl.gz", 5915, 5888, "", empty: 8);

    [Theory, MemberData(nameof(Sets))]
    public void Rows_become_trees_whose_answers_end_with_the_end_token(string file, int rows, int used, string mapping) =>
        BecomeTrees(file, rows, used, mapping, empty: 0);

    private void BecomeTrees(string file, int rows, int used, string mapping, int empty)
    {
        using var data = Load(file, mapping, RowUse.Preferences, new() { Encoding = AnswerEncoding.Joint });
        var summary = data.Sources[0].Summary;
        Assert.Equal((rows, used), ((int)summary.SourceRows, data.Train.Count));
        Assert.Equal(empty, summary.BadCount);
        for (var i = 0; i < data.Train.Count; i += Math.Max(1, data.Train.Count / 200))
        {
            var row = data.Train.Read(i);
            var answers = row.Segments.Where(segment => segment.Role != SegmentRole.Prompt).ToArray();
            Assert.Equal([SegmentRole.Chosen, SegmentRole.Rejected], answers.Select(answer => answer.Role));
            Assert.All(answers, answer => Assert.True(s_tokenizer.Value.IsSpecial(answer.Ids.Span[^1])));
            Assert.False(answers[0].Ids.Span.SequenceEqual(answers[1].Ids.Span));
        }
    }

    [Theory]
    [InlineData("llamafactory-demo/kto_en_demo.json", 300, 300)]
    [InlineData("hh-rlhf/test.jsonl.gz", 500, 998)]
    [InlineData("llamafactory-demo/dpo_en_demo.json", 300, 600)]
    public void Rows_become_single_answers(string file, int rows, int used)
    {
        using var data = Load(file, "", RowUse.Unpaired, new() { Shape = AnswerShape.Single, Encoding = AnswerEncoding.Joint });
        Assert.Equal((rows, used), ((int)data.Sources[0].Summary.SourceRows, data.Train.Count));
        var roles = Enumerable.Range(0, data.Train.Count).CountBy(i => data.Train.Read(i).Segments[^1].Role).ToDictionary();
        Assert.Equal(used, roles.Values.Sum());
        Assert.InRange(roles[SegmentRole.Chosen], used / 5, 4 * used / 5);
        Assert.InRange(roles[SegmentRole.Rejected], used / 5, 4 * used / 5);
    }

    [Fact]
    public void A_dialogue_s_pieces_are_the_dialogue()
    {
        var path = SharedFiles.Need("data", "hh-rlhf", "test.jsonl.gz");
        var rows = TextMaker.Read(path);
        using var data = Load("hh-rlhf/test.jsonl.gz", "", RowUse.Preferences, new());
        var usable = rows.Where(row => row.Value.GetProperty("chosen").GetString() != row.Value.GetProperty("rejected").GetString())
            .ToArray();
        Assert.Equal(usable.Length, data.Train.Count);
        for (var i = 0; i < usable.Length; i += 7)
            foreach (var part in data.Train.Read(i).Segments.Where(part => part.Parent >= 0))
                Assert.Equal(usable[i].Value.GetProperty(part.Role == SegmentRole.Chosen ? "chosen" : "rejected").GetString()
                    + "<|endoftext|>",
                    s_tokenizer.Value.Decode(data.Train.Read(i).Segments[part.Parent].Ids.Span) + s_tokenizer.Value.Decode(part.Ids.Span));
    }

    [Fact]
    public void Number_12_a_set_of_long_dialogues_is_cut_and_counted_and_no_answer_is_empty()
    {
        using var data = Load("hh-rlhf/test.jsonl.gz", "", RowUse.Preferences, new() { MaxLength = 128, MaxPromptLength = 512 });
        var summary = data.Sources[0].Summary;
        var left = Assert.Single(summary.Bad, bad => bad.Reason == "no answer token left after cutting");
        Assert.True(left.IsRule && left.Count > 100 && summary.CutRows > 50);
        Assert.Equal(500, data.Train.Count + summary.Bad.Sum(bad => bad.Count));
        for (var i = 0; i < data.Train.Count; i++)
        {
            var row = data.Train.Read(i);
            Assert.All(row.Segments, part => Assert.InRange(part.Ids.Length, 1, 128));
            Assert.True(BatchBuilder.Build(new TokenRowList([row]), [0]).TargetCount >= 2);
        }
    }

    private TrainingData Load(string file, string mapping, RowUse use, PreferenceTokenizerOptions options) => TrainingData.Load(new()
    {
        Mixture = new()
        {
            Dialect = MixtureDialect.Single,
            Datasets = [new() { Id = SharedFiles.Need("data", file),
                ColumnMapping = mapping.Length == 0 ? null : mapping.Split(mapping.Contains(';') ? ';' : ' ')
                .Select(pair => pair.Split('=')).ToDictionary(pair => pair[0], pair => pair[1]) }],
        },
        Tokenizer = s_tokenizer.Value,
        Chats = new ChatRowEncoder(s_tokenizer.Value, ChatTemplate.Parse(ChatTemplate.ChatMl, "chat_template")),
        Use = use,
        Answers = options,
        MaxBadRows = 0.1,
        Cache = _files.Cache,
    }, cancel: TestContext.Current.CancellationToken);
}
