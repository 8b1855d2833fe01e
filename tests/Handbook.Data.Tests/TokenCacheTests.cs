using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Cache;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;

namespace Handbook.Data.Tests;

public sealed class TokenCacheTests : IDisposable
{
    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Fact]
    public void Rows_come_back_as_they_were_tokenised()
    {
        var path = _files.Write("t.jsonl", "{\"text\": \"Grüße\"}\n{\"text\": \"a<end>\"}\n");
        using var store = Open(path, out _);
        Assert.Equal(2, store.Count);
        Assert.Equal([.. System.Text.Encoding.UTF8.GetBytes("Grüße").Select(b => (int)b), 256], store.Read(0).Segments[0].Ids.ToArray());
        Assert.Equal(["a"u8[0], 256], store.Read(1).Segments[0].Ids.ToArray());         // ends with the end token already
        Assert.Equal(5, store.Characters(0));
        Assert.Equal([1, 1], store.Read(1).Segments[0].Loss.ToArray());
        Assert.Equal(10, store.Summary.Tokens);
    }

    [Fact]
    public void A_store_holds_trees_as_well()
    {
        var row = new TokenRow
        {
            Segments =
            [
                new(SegmentRole.Prompt, -1, new[] { 1, 2, 3 }, new byte[] { 0, 0, 0 }),
                new(SegmentRole.Chosen, 0, new[] { 4 }, new byte[] { 1 }),
                new(SegmentRole.Rejected, 0, new[] { 5, 6 }, new byte[] { 1, 0 }),
            ],
        };
        var path = Path.Combine(_files.Folder, "x.tokens");
        using (var writer = new TokenStoreWriter(path))
        {
            writer.Add(row, 0);
            writer.Add(row, 7);
            writer.Finish(new() { SourceRows = 8 });
        }
        using var store = TokenStore.TryOpen(path)!;
        Assert.Equal(7, store.SourceRow(1));
        for (var p = 0; p < 3; p++)
        {
            var (read, written) = (store.Read(1).Segments[p], row.Segments[p]);
            Assert.Equal((written.Role, written.Parent), (read.Role, read.Parent));
            Assert.Equal(written.Ids.ToArray(), read.Ids.ToArray());
            Assert.Equal(written.Loss.ToArray(), read.Loss.ToArray());
        }
    }

    [Fact]
    public void Number_27_the_second_start_reads_nothing_and_any_change_makes_it_anew()
    {
        var path = _files.Write("t.jsonl", "{\"text\": \"one\"}\n");
        using (Open(path, out var made))
            Assert.True(made);
        using (Open(path, out var made))
            Assert.False(made);
        RowTokenizerOptions plain = new();
        RowTokenizerOptions[] changes =
        [
            plain with { MaxLength = 2 }, plain with { MaxLength = 2, CutsLeft = true }, plain with { EndToken = EndTokenRule.Never },
            plain with { AddSpecialTokens = false }, plain with { AddSpecialTokensToChats = true }, plain with { InsertEmptySystemTurn = true },
            plain with { Loss = LossScope.All },
        ];
        foreach (var change in changes)
        {
            using (Open(path, out var made, change))
                Assert.True(made, $"{change} takes rows that were made otherwise");
            using (Open(path, out var made, change))
                Assert.False(made, $"{change} makes them again");
        }
        _files.Write("t.jsonl", "{\"text\": \"two\"}\n");        // same size, same second
        using (var store = Open(path, out var made))
        {
            Assert.True(made);
            Assert.Equal("two", TextMaker.Text(store.Read(0)));
        }
    }

    [Fact]
    public void A_damaged_store_is_made_anew()
    {
        var path = _files.Write("t.jsonl", "{\"text\": \"one\"}\n");
        string stored;
        using (var store = Open(path, out _))
            stored = store.Path;
        var bytes = File.ReadAllBytes(stored);
        File.WriteAllBytes(stored, bytes[..^9]);
        using (var store = Open(path, out var made))
        {
            Assert.True(made);
            Assert.Equal("one", TextMaker.Text(store.Read(0)));
        }
    }

    [Fact]
    public void A_failed_build_leaves_no_file_behind()
    {
        var path = _files.WriteBytes("t.txt", [.. "fine\n"u8, 0xE9, (byte)'\n']);
        Assert.Throws<InputException>(() => Open(path, out _));
        Assert.DoesNotContain(Directory.EnumerateFiles(_files.Folder, "*", SearchOption.AllDirectories),
            file => file.Contains("tokens", StringComparison.Ordinal));
    }

    [Fact]
    public void Many_rows_keep_their_order_whatever_the_threads()
    {
        var path = _files.Lines("t.jsonl", "row", 10_000);
        using var store = Open(path, out _);
        Assert.Equal(10_000, store.Count);
        for (var i = 0; i < 10_000; i += 97)
            Assert.Equal($"row-{i}", TextMaker.Text(store.Read(i)));
    }

    [Fact]
    public void Rows_are_cut_at_the_end_or_at_the_beginning()
    {
        var path = _files.Write("t.jsonl", "{\"text\": \"abcdef\"}\n");
        using (var store = Open(path, out _, new RowTokenizerOptions { MaxLength = 3 }))
        {
            Assert.Equal("abc", TextMaker.Text(store.Read(0)));
            Assert.Equal(1, store.Summary.CutRows);
        }
        using (var store = Open(path, out _, new RowTokenizerOptions { MaxLength = 3, CutsLeft = true }))
            Assert.Equal([(int)'e', 'f', 256], store.Read(0).Segments[0].Ids.ToArray());
    }

    [Fact] // "xa" is the begin token, x, a; "xabc" is the begin token, x, ab, c: three tokens are the prompt's, and ab carries no loss
    public void A_token_across_prompt_and_completion_is_the_prompt_s_and_is_counted()
    {
        var path = _files.Write("t.jsonl", "{\"prompt\": \"xa\", \"completion\": \"bc\"}\n{\"prompt\": \"xa\", \"completion\": \"cc\"}\n");
        var spec = new DatasetSpec { Id = path };
        var source = Dataset.Open(spec);
        using var store = new TokenCache(_files.Cache).Open(source,
            new RowTokenizer(RowReader.For(source, spec, RowUse.FineTuning), TextMaker.Joining, null, new()), RowSelection.All,
            cancel: TestContext.Current.CancellationToken);

        var row = Assert.Single(store.Read(0).Segments);
        Assert.Equal([257, 'x', 258, 'c', 256], row.Ids.ToArray());
        Assert.Equal([0, 0, 0, 1, 1], row.Loss.ToArray());
        Assert.Equal([0, 0, 0, 1, 1, 1], Assert.Single(store.Read(1).Segments).Loss.ToArray());
        Assert.Equal(1, store.Summary.JoinedRows);
        Assert.StartsWith("1 row has a token that holds the end of the prompt", store.Summary.JoinedNote(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_completion_alone_carries_loss_unless_all_is_asked_for()
    {
        var path = _files.Write("t.jsonl", "{\"prompt\": \"ab\", \"completion\": \"cd\"}\n");
        using (var store = Open(path, out _))
            Assert.Equal([0, 0, 1, 1, 1], store.Read(0).Segments[0].Loss.ToArray());
        using (var store = Open(path, out _, new RowTokenizerOptions { Loss = LossScope.All }))
            Assert.Equal([1, 1, 1, 1, 1], store.Read(0).Segments[0].Loss.ToArray());
    }

    [Fact]
    public void Ready_tokens_are_taken_with_their_labels()
    {
        var path = _files.Write("t.jsonl", "{\"input_ids\": [5, 6, 7], \"labels\": [-100, 6, 7]}\n");
        using var store = Open(path, out _);
        Assert.Equal([5, 6, 7], store.Read(0).Segments[0].Ids.ToArray());
        Assert.Equal([0, 1, 1], store.Read(0).Segments[0].Loss.ToArray());
    }

    [Fact]
    public void Unusable_rows_are_counted_by_reason_with_an_example()
    {
        var path = _files.Write("t.jsonl", """
            {"text": "fine"}
            {"text": "broken
            {"text": 5}
            {"other": "x"}
            {"text": ""}
            [1]

            {"text": null}
            """);
        using var store = Open(path, out _);
        Assert.Equal((7, 1, 6), (store.Summary.SourceRows, store.Summary.UsedRows, store.Summary.BadCount));
        var bad = store.Summary.Bad.ToDictionary(entry => entry.Reason, entry => (entry.Count, entry.Example));
        Assert.Equal(2, bad["no text"].Count);
        Assert.Equal("t.jsonl:4: {\"other\": \"x\"}", Short(bad["no text"].Example));
        Assert.Equal("t.jsonl:3: text is a number: {\"text\": 5}", Short(bad["wrong type"].Example));
        Assert.Equal("t.jsonl:2: column 17: it ends in the middle of a value: {\"text\": \"broken",
            Short(bad["broken JSON"].Example));
        Assert.Equal("t.jsonl:6: the row is a list: [1]", Short(bad["not an object"].Example));
        Assert.Equal("t.jsonl:5: {\"text\": \"\"}", Short(bad["empty"].Example));
    }

    [Fact]
    public void Too_many_unusable_rows_stop_the_run_with_their_reasons()
    {
        var path = _files.Write("t.jsonl", string.Concat(Enumerable.Repeat("{\"text\": \"fine\"}\n", 9)) + "{\"text\": 5}\n");
        var error = Assert.Throws<InputException>(() => Load(path, 0.05));
        Assert.Equal("[train]: 1 of 10 rows cannot be used (10.0 %, at most 5.0 % may be):\n    1 × wrong type, e.g. t.jsonl:10: text is "
            + "a number: {\"text\": 5}", Short(error.What).Replace("t.jsonl [", "[", StringComparison.Ordinal));
        Load(path, 0.2).Dispose();
    }

    [Fact]
    public void Only_unusable_rows_stop_the_run_whatever_is_allowed()
    {
        var path = _files.Write("t.jsonl", "{\"text\": \"\"}\n{\"text\": \"\"}\n");
        Assert.Contains("not one of its 2 rows can be used", Assert.Throws<InputException>(() => Load(path, 1.0)).Message);
    }

    [Fact]
    public void Progress_ends_with_everything_done()
    {
        var seen = new List<TokenizeProgress>();
        var path = _files.Lines("t.jsonl", "row", 5000);
        var spec = new DatasetSpec { Id = path };
        var source = Dataset.Open(spec);
        using var store = new TokenCache(_files.Cache).Open(source, new RowTokenizer(RowReader.For(source, spec, RowUse.FineTuning),
            TextMaker.Bytes, null, new()), RowSelection.All, new Listener(seen), TestContext.Current.CancellationToken);
        Assert.True(seen.Count >= 3);
        Assert.Equal(new TokenizeProgress(path, 5000, store.Summary.Tokens, 1, true), seen[^1]);
    }

    private sealed class Listener(List<TokenizeProgress> seen) : IProgress<TokenizeProgress>
    {
        public void Report(TokenizeProgress value) => seen.Add(value);
    }

    private string Short(string text) => text.Replace(_files.Folder + "/", "", StringComparison.Ordinal);

    private TrainingData Load(string path, double limit) => TrainingData.Load(new()
    {
        Mixture = new() { Dialect = MixtureDialect.Single, Datasets = [new() { Id = path }] },
        Tokenizer = TextMaker.Bytes,
        Use = RowUse.Pretraining,
        MaxBadRows = limit,
        Cache = _files.Cache,
    }, cancel: TestContext.Current.CancellationToken);

    private TokenStore Open(string path, out bool made, RowTokenizerOptions? options = null)
    {
        var spec = new DatasetSpec { Id = path };
        var source = Dataset.Open(spec);
        var counting = new Counting(new RowTokenizer(RowReader.For(source, spec, RowUse.FineTuning), TextMaker.Bytes, null,
            options ?? new()));
        var store = new TokenCache(_files.Cache).Open(source, counting, RowSelection.All, cancel: TestContext.Current.CancellationToken);
        made = counting.Count > 0;
        return store;
    }

    private sealed class Counting(RowTokenizer inner) : IRowTokenizer
    {
        private int _count;

        public int Count => _count;

        public string Fingerprint => inner.Fingerprint;

        public string Format => inner.Format;

        public IReadOnlyList<TokenRow> Tokenize(JsonElement row, out RowProblem? problem, out bool wasCut)
        {
            Interlocked.Increment(ref _count);
            return inner.Tokenize(row, out problem, out wasCut);
        }
    }
}
