using Handbook.Base;
using Handbook.Data.Mixing;

namespace Handbook.Data.Tests;

/// <summary>A row is never trained on and held out at once, in whichever files and however often it stands.</summary>
public sealed class HeldOutRowsTests : IDisposable
{
    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Fact]
    public void Rows_held_out_of_a_file_that_is_listed_twice_are_not_trained_on()
    {
        var path = _files.Lines("a.jsonl", "a", 20);
        using var data = Load(0.2, new() { Id = path }, new() { Id = path, Weight = 0.5 });
        Check(data, held: 6);
        Assert.Equal("note: 3 of 24 training rows (12.5 %) are left out: the same rows are held out", Assert.Single(data.Remarks));
    }

    [Fact]
    public void A_copy_under_another_name_is_the_same_file()
    {
        _files.Lines("a.jsonl", "a", 20);
        using var data = Load(0.2, new() { Id = _files.Lines("b.jsonl", "a", 20) }, new() { Id = Path.Combine(_files.Folder, "a.jsonl") });
        Check(data, held: 8);
    }

    [Fact]
    public void A_folder_and_a_file_in_it_share_that_file()
    {
        var path = _files.Lines("ds/train_1.jsonl", "one", 10);
        _files.Lines("ds/train_2.jsonl", "two", 10);
        using var data = Load(0.25, new() { Id = Path.Combine(_files.Folder, "ds") }, new() { Id = path });
        Check(data, held: 8);
    }

    [Fact]
    public void Slices_that_overlap_share_their_common_rows()
    {
        var path = _files.Lines("a.jsonl", "a", 40);
        using var data = Load(0.25, new() { Id = path, Split = "train[:75%]" }, new() { Id = path, Split = "train[25%:]" });
        Check(data, held: 15);
    }

    [Fact]
    public void A_test_file_that_is_a_copy_of_the_train_file_leaves_nothing_and_says_why()
    {
        _files.Lines("ds/train.jsonl", "a", 10);
        _files.Lines("ds/test.jsonl", "a", 10);
        Assert.Equal("every row to train on is held out as well",
            Assert.Throws<InputException>(() =>
            TrainingData.Load(Options(new()
            {
                Dialect = MixtureDialect.Single,
                Datasets = [new() { Id = Path.Combine(_files.Folder, "ds") }]
            }))).What);
    }

    [Fact]
    public void What_a_data_set_publishes_in_both_splits_stays_and_is_told()
    {
        _files.Write("ds/test.jsonl", """{"text": "a-3"}""" + "\n" + """{"text": "new"}""" + "\n" + """{"text": "a-3"}""" + "\n");
        _files.Lines("ds/train.jsonl", "a", 10);
        using var data = TrainingData.Load(Options(new() { Dialect = MixtureDialect.Single, Datasets = [new() { Id = Path.Combine(_files.Folder, "ds") }] }));
        Assert.Equal((10, "note: 1 of 10 training rows (10.0 %) are held out as well: the data set publishes them in both splits"),
            (data.Train.Count, Assert.Single(data.Remarks)));
    }

    [Fact]
    public void A_row_that_is_taken_several_times_is_held_out_once_and_trained_on_never()
    {
        using var data = Load(0.2, new DatasetSpec { Id = _files.Lines("a.jsonl", "a", 20), Weight = 3 });
        var (train, test) = (Texts(data.Train), Texts(data.Evaluation!));
        Assert.Equal(test.Distinct(), test);
        Assert.Empty(train.Intersect(test));
        Assert.Equal(60, train.Length + 3 * test.Length);       // every copy is in one of the two
        Assert.All(train.CountBy(text => text), text => Assert.Equal(3, text.Value));
    }

    [Fact]
    public void Different_files_keep_the_order_and_the_number_of_their_rows()
    {
        using var data = Load(0.25, new() { Id = _files.Lines("a.jsonl", "a", 20) }, new() { Id = _files.Lines("b.jsonl", "b", 20) });
        Assert.Equal((30, 10), (data.Train.Count, data.Evaluation!.Count));
        Assert.Empty(data.Remarks);
    }

    [Fact]
    public void Rows_that_are_drawn_twice_to_be_held_out_are_told()
    {
        using var data = Load(0.5, new DatasetSpec { Id = _files.Lines("a.jsonl", "a", 10), Weight = 2 });
        var repeated = 10 - data.EvaluationSamples;            // of the 20 rows 10 are drawn
        Assert.InRange(repeated, 1, 5);
        Assert.Equal($"note: {repeated} of 10 held-out rows ({repeated}0.0 %) are left out: the same rows of a data set that is taken more than "
            + "once were held out already", data.HeldOutNotes[0]);
        Assert.Equal(data.HeldOutNotes, data.Remarks);
    }

    private static void Check(TrainingData data, int held)
    {
        var (train, test) = (Texts(data.Train), Texts(data.Evaluation!));
        Assert.Equal(held, test.Length);
        Assert.NotEmpty(train);
        Assert.Empty(train.Intersect(test));
    }

    private TrainingData Load(double testSize, params DatasetSpec[] sets) =>
        TrainingData.Load(Options(new() { Dialect = MixtureDialect.Mixture, Datasets = sets, TestSplitSize = testSize, Seed = 1 }));

    private TrainingDataOptions Options(MixtureSpec mixture) =>
        new() { Mixture = mixture, Tokenizer = TextMaker.Bytes, Evaluates = true, Cache = _files.Cache };

    private static string[] Texts(ITokenRows rows) => [.. Enumerable.Range(0, rows.Count).Select(i => TextMaker.Text(rows.Read(i)))];
}
