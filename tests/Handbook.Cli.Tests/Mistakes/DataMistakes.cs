using System.IO.Compression;
using System.Text;

namespace Handbook.Cli.Tests.Mistakes;

/// <summary>Data that is not where the recipe says, is of another format, or has other splits; mixing; comparing with test sets.</summary>
internal static class DataMistakes
{
    private const string Row = """{"messages": [{"role": "user", "content": "number?"}, {"role": "assistant", "content": "it is"}]}""";

    private const string Mixture = "dataset_mixture:\n  datasets:\n  - id: rows.jsonl\n";

    public static IReadOnlyList<Mistake> All { get; } =
    [
        Named("a data set that is nowhere", "someone/rows") with { IsQuick = true },
        Named("a file of rows that is nowhere", "row.jsonl"),
        Named("a file of an unknown kind", "rows.xlsx", run => run.Write("rows.xlsx", "what is this")),
        Named("an empty file of rows", "none.jsonl", run => run.Write("none.jsonl", "")),
        Named("a file of blank lines", "none.jsonl", run => run.Write("none.jsonl", "\n\n\n")),
        Named("a folder without rows", "data", run => run.MakeFolder("data")),
        Named("lines that are not JSON", "bad.jsonl", run => run.Write("bad.jsonl", "messages: hello\n")),
        Named("a line that ends early", "bad.jsonl", run => run.Write("bad.jsonl", "{\"messages\": [{\"role\": \"user\"\n")),
        Named("lines that are lists", "bad.jsonl", run => run.Write("bad.jsonl", "[1, 2]\n[3]\n")),
        Named("JSON that ends early", "rows.json", run => run.Write("rows.json", $"[{Row}, {{\"messages\"")),
        Named("JSON without rows", "rows.json", run => run.Write("rows.json", "{\"version\": 1}")),
        Named("rows with a byte that is no UTF-8", "latin.jsonl", run => run.Bytes("latin.jsonl", "a row with byte E9", _ =>
            Encoding.Latin1.GetBytes(Row.Replace("it is", "café", StringComparison.Ordinal) + "\n")),
            run => run.Add("dataset_encoding: iso-8859-1"), keepsName: true),
        Named("an encoding that is none", "rows.jsonl", run => run.Add("dataset_encoding: latin-0"), run => run.Set("dataset_encoding",
            "dataset_encoding: utf-8"), keepsName: true),
        Named("a table without the columns", "rows.csv", run => run.Write("rows.csv", "question,reply\na,b\n"),
            run => run.Add("column_mapping: {prompt: question, completion: reply}"), keepsName: true),
        Named("a table with lines of other lengths", "rows.csv", run => run.Write("rows.csv", "prompt,completion\na,b,c\nd\n"),
            run => run.Write("rows.csv", "prompt,completion\na,\"b,c\"\nd,e\n"), keepsName: true),
        Named("a table with a quote that is not closed", "rows.csv", run => run.Write("rows.csv", "prompt,completion\na,\"b\nc,d\n"),
            run => run.Write("rows.csv", "prompt,completion\na,b\nc,d\n"), keepsName: true),
        Named("no Parquet in a Parquet file", "rows.parquet", run => run.Write("rows.parquet", "this is not Parquet")),
        Named("no Arrow in an Arrow file", "rows.arrow", run => run.Write("rows.arrow", "this is not Arrow")),
        Named("a pointer in the place of a large file", "rows.parquet", run => run.Write("rows.parquet",
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n")),
        Named("no gzip in a gzip file", "rows.jsonl.gz", run => run.Write("rows.jsonl.gz", "this is not gzip")),
        Named("a gzip file that is cut", "rows.jsonl.gz", run => run.Bytes("rows.jsonl.gz", "the first half of a compressed file",
            _ => Half(Zipped()))) with { IsSeenByValidate = false },
        Named("no zstd in a zstd file", "rows.jsonl.zst", run => run.Write("rows.jsonl.zst", "this is not zstd")),
        new("a split that does not exist", run =>
        {
            run.Copy("rows.jsonl", "data/train.jsonl");
            run.Set("dataset_name", "dataset_name: data\ndataset_train_split: validation");
        }, run => run.Set("dataset_train_split", "dataset_train_split: train")) { IsQuick = true },
        new("a slice that is not closed", run => run.Add("dataset_train_split: train[:50%"), run => run.Set("dataset_train_split",
            "dataset_train_split: train[:50%]")),
        new("a slice without rows", run => run.Add("dataset_train_split: train[8:]"),
            run => run.Set("dataset_train_split", "dataset_train_split: train[:8]")),
        new("evaluation without a split for it", run => run.Add("eval_strategy: steps"), run => run.Add(
            "dataset_train_split: train[:90%]\ndataset_test_split: train[90%:]")),
        new("a configuration that does not exist", run =>
        {
            Configured(run);
            run.Set("dataset_name", "dataset_name: data\ndataset_config: enn");
        }, run => run.Set("dataset_config", "dataset_config: en")),
        new("a configuration that is not chosen", run =>
        {
            Configured(run);
            run.Set("dataset_name", "dataset_name: data");
        }, run => run.Add("dataset_config: en")),
        new("the data named twice", run => run.Add(Mixture.TrimEnd()), run => run.Remove("dataset_name")),
        Mixed("a mixture that is a name", "dataset_mixture: rows.jsonl", Mixture),
        Mixed("a mixture of nothing", "dataset_mixture: {datasets: []}", Mixture),
        Mixed("a key of a mixture that is misspelt", Mixture + "    wieght: 0.5", Mixture + "    weight: 0.5"),
        Mixed("a set of a mixture without a name", "dataset_mixture:\n  datasets:\n  - config: en", Mixture),
        Mixed("a set of a mixture that is nowhere", Mixture + "  - id: other.jsonl", Mixture) with { IsQuick = true },
        Mixed("a weight that is negative", Mixture + "    weight: -1", Mixture + "    weight: 1"),
        Mixed("weights that take no row", Mixture + "    weight: 0.01", Mixture + "    weight: 1"),
        Mixed("all rows held out", Mixture + "  test_split_size: 8", Mixture + "  test_split_size: 2"),
        Mixed("evaluation of a mixture that holds nothing out", Mixture + "eval_strategy: steps",
            Mixture + "  test_split_size: 2\neval_strategy: steps", "eval_strategy"),
        Mixed("columns that a set does not have", Mixture + "    columns: [message]", Mixture + "    columns: [messages]"),
        Mixed("a mixer of names without shares", "dataset_mixer: [rows.jsonl]",
            "dataset_mixer: {rows.jsonl: 1.0}\ndataset_splits: [train]\nmax_length: 16", "max_length"),
        Mixed("a share of a mixer that is a word", "dataset_mixer: {rows.jsonl: all}\ndataset_splits: [train]\nmax_length: 16",
            "dataset_mixer: {rows.jsonl: 1.0}\ndataset_splits: [train]\nmax_length: 16", "dataset_splits", "max_length"),
        Mixed("a set of a mixer that is nowhere",
            "dataset_mixer: {rows.jsonl: 1.0, other.jsonl: 0.5}\ndataset_splits: [train]\nmax_length: 16",
            "dataset_mixer: {rows.jsonl: 1.0}\ndataset_splits: [train]\nmax_length: 16", "dataset_splits", "max_length"),
        Mixed("a split of a mixer that is neither trained on nor held out",
            "dataset_mixer: {rows.jsonl: 1.0}\ndataset_splits: [validation]\nmax_length: 16",
            "dataset_mixer: {rows.jsonl: 1.0}\ndataset_splits: [train]\nmax_length: 16", "dataset_splits", "max_length"),
        Mixed("more configurations than sets",
            "dataset_mixer: {rows.jsonl: 1.0}\ndataset_splits: [train]\ndataset_configs: [a, b]\nmax_length: 16",
            "dataset_mixer: {rows.jsonl: 1.0}\ndataset_splits: [train]\nmax_length: 16", "dataset_splits", "dataset_configs", "max_length"),
        Compared("a test set that is nowhere", "{against: [{id: tests.jsonl}]}", "{against: [{id: human-eval}]}"),
        Compared("a test set without a name", "{against: [{split: test}]}", "{against: [{id: human-eval}]}"),
        Compared("a key of the comparison that is misspelt", "{against: [{id: human-eval}], ngram: 13}",
            "{against: [{id: human-eval}], ngrams: 13}"),
        Compared("an overlap above all", "{against: [{id: human-eval}], overlap: 2}", "{against: [{id: human-eval}], overlap: 0.5}"),
        Compared("columns that a test set does not have", "{against: [{id: tests.jsonl, columns: [question]}]}",
            "{against: [{id: tests.jsonl, columns: [text]}]}",
            run => run.Write("tests.jsonl", "{\"text\": \"Write a function that adds two numbers and returns the sum.\"}\n")),
        Compared("rows that are all in the test set", "{against: [{id: copy.jsonl}], ngrams: 0, min_length: 1}",
            "{against: [{id: human-eval}]}",
            run => run.Copy("rows.jsonl", "copy.jsonl")) with { IsSeenByValidate = false },
    ];

    /// <summary>Another name for the data.</summary>
    /// <param name="make">Makes what lies there; null leaves nothing there.</param>
    /// <param name="mend">What mends it; null names the rows that are good.</param>
    /// <param name="keepsName">Whether the name stays.</param>
    private static Mistake Named(string title, string name, Action<MistakeFolder>? make = null, Action<MistakeFolder>? mend = null,
        bool keepsName = false) =>
        new(title, run =>
        {
            run.Set("dataset_name", $"dataset_name: {name}");
            make?.Invoke(run);
        }, run =>
        {
            if (!keepsName)
                run.Set("dataset_name", "dataset_name: rows.jsonl");
            mend?.Invoke(run);
        });

    /// <summary>Another way to name the data.</summary>
    /// <param name="also">More keys of the lines, which give way before they are added, and before they are mended.</param>
    private static Mistake Mixed(string title, string wrong, string right, params string[] also) => new(title, run =>
    {
        run.Remove("dataset_name");
        if (also.Contains("max_length"))
            run.Remove("max_length");
        run.Add(wrong.TrimEnd());
    }, run =>
    {
        run.Remove([wrong.Split(':')[0], .. also.Where(key => $"\n{wrong}".Contains($"\n{key}:", StringComparison.Ordinal))]);
        run.Add(right.TrimEnd());
    });

    private static Mistake Compared(string title, string wrong, string right, Action<MistakeFolder>? make = null) => new(title, run =>
    {
        make?.Invoke(run);
        run.Add($"decontaminate: {wrong}");
    }, run => run.Set("decontaminate", $"decontaminate: {right}"));

    private static void Configured(MistakeFolder run)
    {
        run.Copy("rows.jsonl", "data/en/train.jsonl");
        run.Copy("rows.jsonl", "data/de/train.jsonl");
        run.Write("data/README.md",
            "---\nconfigs:\n- config_name: en\n  data_files: en/*.jsonl\n- config_name: de\n  data_files: de/*.jsonl\n---\n");
    }

    private static byte[] Zipped()
    {
        using var memory = new MemoryStream();
        using (var zip = new GZipStream(memory, CompressionLevel.Fastest))
            zip.Write(Encoding.UTF8.GetBytes(string.Concat(Enumerable.Range(0, 200).Select(i => $"{{\"text\": \"row {i * 7919}\"}}\n"))));
        return memory.ToArray();
    }

    private static byte[] Half(byte[] bytes) => bytes[..(bytes.Length / 2)];
}
