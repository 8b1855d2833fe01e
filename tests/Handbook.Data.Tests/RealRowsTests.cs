using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Cache;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Testing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Tests;

/// <summary>Every real set with a layout for fine-tuning goes through reader, template and tokenizer.</summary>
public sealed class RealRowsTests : IDisposable
{
    private readonly TextMaker _files = new();

    private static readonly Lazy<Tokenizer> _tokenizer = new(() =>
        Tokenizer.Load(SharedFiles.Need("tokenizers", "smollm2")).With(eosToken: "<|endoftext|>"));

    public void Dispose() => _files.Dispose();

    public static TheoryData<string> Files()
    {
        var files = new TheoryData<string>();
        foreach (var row in SharedDataTests.Files())
            files.Add(row.Data);
        return files;
    }

    [Theory, MemberData(nameof(Files))]
    public void The_first_rows_of_every_set_become_tokens(string file) => Check(file, "train[:100]");

    [Theory, MemberData(nameof(Files)), Trait("speed", "slow")]
    public void All_rows_of_every_set_become_tokens(string file) => Check(file, "train");

    [Fact]
    public void Only_what_the_assistant_says_carries_loss_when_asked_for()
    {
        var path = SharedFiles.Need("data", "llamafactory-demo", "v1_sft_demo.jsonl");
        using var data = Load(path, "train[:50]", LossScope.Assistant, ChatTemplate.ChatMl);
        var rows = TextMaker.Read(path);
        for (var i = 0; i < data.Train.Count; i++)
        {
            var learnt = string.Concat(RowText.Runs(data.Train.Read(i), _tokenizer.Value).Where(run => run.CarriesLoss)
                .Select(run => run.Text));
            foreach (var turn in rows[i].Value.GetProperty("messages").EnumerateArray())
            {
                var said = string.Concat(turn.GetProperty("content").EnumerateArray()
                    .Select(part => part.GetProperty("value").GetString()));
                if (turn.GetProperty("role").GetString() == "assistant")
                    Assert.Contains(said, learnt);
            }
            Assert.DoesNotContain("<|im_start|>user", learnt);
        }
    }

    [Fact]
    public void Packed_and_separate_rows_hold_the_same_tokens()
    {
        var path = SharedFiles.Need("data", "instructions-small", "instruction-data.json");
        using var separate = Load(path, "train", LossScope.Assistant, ChatTemplate.ChatMl);
        using var packed = Load(path, "train", LossScope.Assistant, ChatTemplate.ChatMl, PackingKind.BestFit);
        Assert.True(packed.Train.Count < separate.Train.Count / 4);
        Assert.Equal(Pairs(separate.Train), Pairs(packed.Train));
        Assert.All(Enumerable.Range(0, packed.Train.Count), i => Assert.InRange(packed.Train.Length(i), 1, 512));

        static (int, byte)[] Pairs(ITokenRows rows) =>
            [.. Enumerable.Range(0, rows.Count).SelectMany(i => rows.Read(i).Segments)
                .SelectMany(part => part.Ids.ToArray().Zip(part.Loss.ToArray())).Order()];
    }

    private void Check(string file, string split)
    {
        var path = SharedFiles.Need("data", file);
        if (DataFile.FormatOf(path) is not { } format)
            return;
        var spec = new DatasetSpec
        {
            Id = path,
            Split = split,
            Encoding = file.EndsWith("Ellendigen1.txt", StringComparison.Ordinal)
            ? "iso-8859-1" : null
        };
        var source = Dataset.Open(spec);
        RowReader reader;
        try
        {
            reader = RowReader.For(source, spec, RowUse.FineTuning);
        }
        catch (InputException refused)
        {
            // Sets without such a layout are told so, with their columns.
            Assert.Contains("has the columns", refused.Message);
            return;
        }
        var chats = new ChatRowEncoder(_tokenizer.Value, ChatTemplate.Parse(ChatTemplate.ChatMl, "chatml"));
        using var store = new TokenCache(_files.Cache).Open(source, new RowTokenizer(reader, _tokenizer.Value, chats,
            new() { EndToken = EndTokenRule.TextsWithout }), RowSelection.All, cancel: TestContext.Current.CancellationToken);
        Assert.Equal(store.Summary.SourceRows, store.Count + store.Summary.BadCount + store.Summary.BlankLines);
        Assert.True(store.Summary.BadShare <= 0.02, string.Join("; ", store.Summary.Bad));
        Assert.True(store.Count > 0);
        for (var i = 0; i < store.Count; i += 37)
        {
            var row = store.Read(i);
            Assert.True(row.TokenCount >= 2);
            Assert.All(row.Segments[0].Ids.ToArray(), id => Assert.InRange(id, 0, _tokenizer.Value.VocabularySize - 1));
        }
    }

    private TrainingData Load(string path, string split, LossScope loss, string template, PackingKind packing = PackingKind.None) =>
        TrainingData.Load(Options(path, loss, template, packing) with
        {
            Mixture = new()
            {
                Dialect = MixtureDialect.Single,
                Datasets = [new() { Id = path }],
                TrainSplit = split
            }
        }, cancel: TestContext.Current.CancellationToken);

    private TrainingDataOptions Options(string path, LossScope loss, string template, PackingKind packing = PackingKind.None) => new()
    {
        Mixture = new() { Dialect = MixtureDialect.Single, Datasets = [new() { Id = path }] },
        Tokenizer = _tokenizer.Value,
        Chats = new ChatRowEncoder(_tokenizer.Value, ChatTemplate.Parse(template, "chatml")),
        Rows = new() { Loss = loss, MaxLength = 512 },
        Packing = packing,
        BlockSize = 512,
        MaxBadRows = 0.2,
        Cache = _files.Cache,
    };
}
