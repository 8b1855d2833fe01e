using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.RandomNumbers;

namespace Handbook.Data.Tests;

/// <summary>The original handbook's own tests of mixing, with local sets of the same sizes: three of 100 train and 100 test rows.</summary>
public sealed class MixtureTests : IDisposable
{
    private readonly TextMaker _files = new();
    private readonly string[] _sets;

    public MixtureTests()
    {
        foreach (var name in (string[])["a", "b", "c"])
            foreach (var split in (string[])["train", "test"])
                _files.Lines($"{name}/{split}.jsonl", $"{name}-{split}", 100);
        _sets = [.. new[] { "a", "b", "c" }.Select(name => Path.Combine(_files.Folder, name))];
    }

    public void Dispose() => _files.Dispose();

    [Fact]
    public void The_mixer_takes_the_first_rows_of_each_set_and_shuffles_them_with_42()
    {
        using var data = Load(Mixer(0.5, 0.3, 0.2));
        string[] joined = [.. Names("a-train", 50), .. Names("b-train", 30), .. Names("c-train", 20)];
        Assert.Equal(NumpyRandom.Permutation(100, 42).Select(i => joined[i]), Texts(data.Train));
        Assert.Equal(["b-train-9", "a-train-21"], Texts(data.Train).Take(2));       // 59 and 21 of the joined rows
        string[] tests = [.. Names("a-test", 100), .. Names("b-test", 100), .. Names("c-test", 100)];
        Assert.Equal(NumpyRandom.Permutation(300, 42).Select(i => tests[i]), Texts(data.Evaluation!));
    }

    [Theory]
    [InlineData(1, 1, 1, 300, 300)]
    [InlineData(0.7, 0.4, 0, 110, 300)]
    [InlineData(0.29, 0, 0, 28, 300)]           // int(0.29 · 100) is 28
    public void The_mixer_counts_as_the_original(double a, double b, double c, int train, int test)
    {
        using var data = Load(Mixer(a, b, c));
        Assert.Equal((train, test), (data.Train.Count, data.Evaluation!.Count));
    }

    [Fact]
    public void Negative_shares_are_refused()
    {
        Assert.Contains("its share is -0.3, but must be 0 or greater\n  why: dataset fractions cannot be negative",
            Assert.Throws<InputException>(() => Load(Mixer(0.7, -0.3, 0))).Message);
        Assert.Contains("its share is Infinity", Assert.Throws<InputException>(() => Load(Mixer(double.PositiveInfinity, 0, 0))).Message);
        Assert.Contains("a weight of 1E+20 takes ", Assert.Throws<InputException>(() => Load(Mixer(1e20, 0, 0))).Message);
    }

    [Fact] // 2.5 is all rows, all rows again, and the first half: then they are shuffled as one, as ever
    public void The_mixer_takes_whole_passes_and_the_first_rows_once_more()
    {
        using var data = Load(Mixer(2.5, 0.1, 0));
        string[] joined = [.. Names("a-train", 100), .. Names("a-train", 100), .. Names("a-train", 50), .. Names("b-train", 10)];
        Assert.Equal(NumpyRandom.Permutation(260, 42).Select(i => joined[i]), Texts(data.Train));
    }

    [Fact] // the set's own shuffle, from the beginning again, and the shuffle of all
    public void The_mixture_takes_whole_passes_of_its_shuffled_rows()
    {
        using var data = Load(Mixture(7, null, 1.3, 0, 0));
        string[] once = [.. NumpyRandom.Permutation(100, 7).Select(i => $"a-train-{i}")];
        string[] joined = [.. once, .. once.Take(30)];
        Assert.Equal(NumpyRandom.Permutation(130, 7).Select(i => joined[i]), Texts(data.Train));
    }

    [Fact]
    public void A_share_applies_to_every_train_split_of_its_set()
    {
        _files.Lines("d/train_sft.jsonl", "sft", 10);
        _files.Lines("d/train_gen.jsonl", "gen", 20);
        using var data = Load(new()
        {
            Dialect = MixtureDialect.Mixer,
            Datasets = [new() { Id = Path.Combine(_files.Folder, "d"), Weight = 0.5 }],
            Splits = ["train_sft", "train_gen"],
            Seed = 42
        });
        Assert.Equal(15, data.Train.Count);
    }

    [Theory]
    [InlineData(0.5, 0.3, 0.2, 0.1, 90, 10)]
    [InlineData(1, 1, 1, 0.1, 270, 30)]
    [InlineData(0.7, 0.4, 0, 0.1, 99, 11)]
    [InlineData(0.5, 0.3, 0.2, 7, 93, 7)]
    public void The_mixture_counts_as_the_original(double a, double b, double c, double size, int train, int test)
    {
        using var data = Load(Mixture(42, size, a, b, c));
        Assert.Equal((train, test), (data.Train.Count, data.Evaluation!.Count));
        Assert.Empty(Texts(data.Train).Intersect(Texts(data.Evaluation)));
    }

    [Fact]
    public void The_mixture_shuffles_each_set_then_all_then_splits_with_one_seed()
    {
        using var data = Load(Mixture(42, 0.1, 0.5, 0.3, 0.2));
        var order = NumpyRandom.Permutation(100, 42);
        string[] joined = [.. order[..50].Select(i => $"a-train-{i}"), .. order[..30].Select(i => $"b-train-{i}"),
            .. order[..20].Select(i => $"c-train-{i}")];
        string[] mixed = [.. order.Select(i => joined[i])];
        Assert.Equal(order[..10].Select(i => mixed[i]), Texts(data.Evaluation!));
        Assert.Equal(order[10..].Select(i => mixed[i]), Texts(data.Train));
    }

    [Fact]
    public void Without_a_test_size_the_mixture_has_no_held_out_rows()
    {
        using var data = Load(Mixture(42, null, 0.5, 0.3, 0.2));
        Assert.Equal(100, data.Train.Count);
        Assert.Null(data.Evaluation);
    }

    [Fact]
    public void A_test_size_that_leaves_nothing_is_refused() =>
        Assert.Equal("test_split_size is 100, which holds out 100 of 100 rows and leaves none to train on",
            Assert.Throws<InputException>(() => Load(Mixture(42, 100, 0.5, 0.3, 0.2))).What);

    [Fact]
    public void One_data_set_keeps_its_order_and_its_published_splits()
    {
        using var data = Load(new() { Dialect = MixtureDialect.Single, Datasets = [new() { Id = _sets[0] }] });
        Assert.Equal(Names("a-train", 100), Texts(data.Train));
        Assert.Equal(Names("a-test", 100), Texts(data.Evaluation!));
    }

    [Fact]
    public void Unusable_rows_leave_the_order_of_the_others_as_it_was()
    {
        _files.Write("bad.jsonl",
            string.Concat(Enumerable.Range(0, 100).Select(i => i % 30 == 7 ? "{\"text\": \n" : $$"""{"text": "r-{{i}}"}""" + "\n")));
        using var data = Load(new()
        {
            Dialect = MixtureDialect.Mixer,
            Datasets = [new() { Id = Path.Combine(_files.Folder, "bad.jsonl"), Weight = 0.9 }],
            Splits = ["train"],
            Seed = 42
        });
        Assert.Equal(NumpyRandom.Permutation(90, 42).Where(i => i % 30 != 7).Select(i => $"r-{i}"), Texts(data.Train));
    }

    private TrainingData Load(MixtureSpec mixture) => TrainingData.Load(new()
    {
        Mixture = mixture,
        Tokenizer = TextMaker.Bytes,
        Use = RowUse.Pretraining,
        Evaluates = mixture.Dialect != MixtureDialect.Mixer || mixture.Splits.Contains("test"),
        Cache = _files.Cache,
    }, cancel: TestContext.Current.CancellationToken);

    private MixtureSpec Mixer(params double[] shares) => new()
    {
        Dialect = MixtureDialect.Mixer,
        Datasets = [.. _sets.Select((id, i) => new DatasetSpec { Id = id, Weight = shares[i] })],
        Seed = 42,
    };

    private MixtureSpec Mixture(long seed, double? test, params double[] shares) =>
        Mixer(shares) with { Dialect = MixtureDialect.Mixture, Seed = seed, TestSplitSize = test };

    private static string[] Names(string name, int count) => [.. Enumerable.Range(0, count).Select(i => $"{name}-{i}")];

    private static string[] Texts(ITokenRows rows) => [.. Enumerable.Range(0, rows.Count).Select(i => TextMaker.Text(rows.Read(i)))];
}
