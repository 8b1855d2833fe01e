using System.Runtime.InteropServices;
using System.Text.Json;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Data.Tests;
using Handbook.Data.Tokenizing;
using Handbook.Models.Files;
using Handbook.Testing;

namespace Handbook.Training.Tests.Data.Preferences;

/// <summary>The token rows of the reference trainers' batches: same rows in, same tokens and masks out.</summary>
[Trait("kind", "golden")]
public sealed class GoldenAnswersTests
{
    private static readonly PreferenceTokenizerOptions s_dpo = new()
    {
        End = AnswerEnding.Always,
        KeepsBegin = false,
        KeepsEnd = true,
        MaxLength = 1024,
        MaxPromptLength = 512
    };

    private static readonly PreferenceTokenizerOptions s_pairs = s_dpo with
    {
        End = AnswerEnding.IfMissing,
        AddsBegin = true,
        Cut = AnswerCut.LongestAnswer
    };

    public static TheoryData<string> Batches(string kind)
    {
        var names = new TheoryData<string>();
        foreach (var folder in SharedFiles.Folders("golden", "losses"))
            if (Path.GetFileName(folder).Contains(kind, StringComparison.Ordinal)
                && File.Exists(Path.Combine(folder, "tensors.safetensors")))
                names.Add(Path.GetFileName(folder));
        return names;
    }

    [Theory, MemberData(nameof(Batches), "dpo")]
    public void Pairs_are_the_reference_batch(string name)
    {
        using var golden = new Batch(name);
        var rows = golden.Rows("rows_before_eos").Select(row => Pair(row, s_dpo, null, golden.End("batch.chosen"))).ToArray();
        golden.Check([.. rows.Select(row => row.Segments[1])], rows, "concatenated.input_ids", "concatenated.attention_mask",
            "concatenated.loss_mask", first: 0);
        golden.Check([.. rows.Select(row => row.Segments[^1])], rows, "concatenated.input_ids", "concatenated.attention_mask",
            "concatenated.loss_mask", first: rows.Length);
    }

    [Theory, MemberData(nameof(Batches), "orpo"), MemberData(nameof(Batches), "cpo")]
    public void Pairs_with_begin_and_end_added_are_the_reference_batch(string name)
    {
        using var golden = new Batch(name);
        var rows = golden.Rows("rows_before_bos_eos")
            .Select(row => Pair(row, s_pairs, golden.Begin("batch.chosen"), golden.End("batch.chosen"))).ToArray();
        golden.Check([.. rows.Select(row => row.Segments[1])], rows, "batch.chosen_input_ids", "batch.chosen_attention_mask",
            "batch.chosen_labels", first: 0);
        golden.Check([.. rows.Select(row => row.Segments[^1])], rows, "batch.rejected_input_ids", "batch.rejected_attention_mask",
            "batch.rejected_labels", first: 0);
    }

    [Theory, MemberData(nameof(Batches), "kto"), MemberData(nameof(Batches), "bco")]
    public void Single_answers_are_the_reference_batch_and_so_are_the_mismatched_ones(string name)
    {
        using var golden = new Batch(name);
        var rules = new AnswerRules(s_pairs with { Shape = AnswerShape.Single, Cut = AnswerCut.BeforeSpecialTokens },
            golden.Begin("batch.completion"), golden.End("batch.completion"));
        var rows = golden.Rows("rows_before_bos_eos").Select(row =>
            AnswerTree.WithUncut(
                AnswerTree.Build(rules.Apply([new(row.GetProperty("label").GetBoolean() ? SegmentRole.Chosen : SegmentRole.Rejected,
                row.Ints("prompt"), row.Ints("completion"))], out _)),
                rules.Uncut(row.Ints("completion")))).ToArray();
        golden.Check([.. rows.Select(row => row.Segments[1])], rows, "batch.completion_input_ids", "batch.completion_attention_mask",
            "batch.completion_labels", first: 0);
        Assert.Equal(golden.Expected.GetProperty("batch_label").EnumerateArray().Select(label => label.GetBoolean()),
            rows.Select(row => row.Segments[1].Role == SegmentRole.Chosen));
        if (!golden.Has("batch.KL_completion_input_ids"))
            return;
        var mismatched = new MismatchedRows(new TokenRowList(rows), blockSize: rows.Length, rules);
        var trees = Enumerable.Range(0, rows.Length).Select(mismatched.Read).ToArray();
        Assert.All(trees, tree => Assert.Equal(SegmentRole.Mismatched, tree.Segments[^1].Role));
        golden.Check([.. trees.Select(tree => tree.Segments[^1])], trees, "batch.KL_completion_input_ids",
            "batch.KL_completion_attention_mask", "batch.KL_completion_labels", first: 0);
    }

    [Theory, MemberData(nameof(Batches), "reward")]
    public void Scored_texts_are_the_reference_batch(string name)
    {
        using var golden = new Batch(name);
        var rows = golden.Rows("rows").Select(row => AnswerTree.OfWholes(row.Ints("chosen_input_ids"), row.Ints("rejected_input_ids"),
            row.GetProperty("margin").GetDouble())).ToArray();
        golden.Check([.. rows.Select(row => row.Segments[1])], rows, "batch.input_ids", "batch.attention_mask", null, first: 0);
        golden.Check([.. rows.Select(row => row.Segments[2])], rows, "batch.input_ids", "batch.attention_mask", null, first: rows.Length);
        Assert.All(rows, row => Assert.InRange(row.Segments[0].Ids.Length, 1, 12));         // they share a beginning, and it stands once
        Assert.Equal(golden.Rows("rows").Select(row => row.GetProperty("margin").GetDouble()), rows.Select(row => row.Margin));
    }

    [Fact]
    public void Single_answers_of_the_newer_release_are_the_reference_batch_and_so_are_the_mismatched_ones()
    {
        var golden = JsonDocument.Parse(File.ReadAllText(SharedFiles.Need("golden", "losses_trl1", "kto.json"))).RootElement;
        var rules = new AnswerRules(s_dpo with { Shape = AnswerShape.Single, KeepsEnd = false, MaxPromptLength = null }, begin: 1, end: 2);
        var rows = golden.GetProperty("rows_before_eos").EnumerateArray().Select(row =>
            AnswerTree.Build(rules.Apply([new(SegmentRole.Chosen, row.Ints("prompt"), row.Ints("completion"))], out _))).ToArray();
        var mismatched = new MismatchedRows(new TokenRowList(rows), rows.Length, rules);
        for (var i = 0; i < rows.Length; i++)
        {
            var tree = mismatched.Read(i);
            Assert.Equal(Unpadded("input_ids", "attention_mask", i), Whole(tree, 1));
            Assert.Equal(Unpadded("completion_mask", "attention_mask", i), Mask(tree, 1));
            Assert.Equal(Unpadded("KL_input_ids", "KL_attention_mask", i), Whole(tree, 2));
            Assert.Equal(Unpadded("KL_completion_mask", "KL_attention_mask", i), Mask(tree, 2));
        }

        int[] Unpadded(string name, string mask, int row) =>
            [.. Values(name, row).Zip(Values(mask, row)).Where(pair => pair.Second == 1).Select(pair => pair.First)];

        IEnumerable<int> Values(string name, int row) =>
            golden.GetProperty("batch").GetProperty(name)[row].EnumerateArray().Select(value => value.GetInt32());
    }

    private static TokenRow Pair(JsonElement row, PreferenceTokenizerOptions options, int? begin, int end) =>
        AnswerTree.Build(new AnswerRules(options, begin, end).Apply(
        [new(SegmentRole.Chosen, row.Ints("prompt"), row.Ints("chosen")),
            new(SegmentRole.Rejected, row.Ints("prompt"), row.Ints("rejected"))], out _));

    private static int[] Whole(TokenRow row, int segment) => Whole(row, row.Segments[segment]);

    private static int[] Whole(TokenRow row, TokenSegment answer) =>
        [.. answer.Parent < 0 ? [] : row.Segments[answer.Parent].Ids.ToArray(), .. answer.Ids.Span];

    private static int[] Mask(TokenRow row, int segment)
    {
        var answer = row.Segments[segment];
        return [.. Enumerable.Repeat(0, row.Segments[answer.Parent].Ids.Length), .. answer.Loss.ToArray().Select(loss => (int)loss)];
    }

    private sealed class Batch(string name) : IDisposable
    {
        private readonly SafetensorsFile _tensors = SafetensorsFile.Open(SharedFiles.Need("golden", "losses", name, "tensors.safetensors"));

        public JsonElement Expected { get; } =
            JsonDocument.Parse(File.ReadAllText(SharedFiles.Need("golden", "losses", name, "expected.json"))).RootElement;

        /// <summary>The first token of a collated row: it begins every row of these trainers.</summary>
        public int Begin(string part) => (int)Kept(Row(part + "_input_ids", 0), Row(part + "_attention_mask", 0)).First();

        /// <summary>The last token of a collated row: it ends every answer.</summary>
        public int End(string part) => (int)Kept(Row(part + "_input_ids", 0), Row(part + "_attention_mask", 0)).Last();

        public JsonElement.ArrayEnumerator Rows(string key) => Expected.GetProperty(key).EnumerateArray();

        public bool Has(string tensor) => _tensors.Names.Contains(tensor);

        /// <summary>Compares answers under their prompts with rows of the padded batch, without its padding.</summary>
        public void Check(TokenSegment[] answers, TokenRow[] rows, string ids, string attention, string? labels, int first)
        {
            for (var i = 0; i < answers.Length; i++)
            {
                var real = Row(attention, first + i);
                var whole = Whole(rows[i], answers[i]);
                Assert.Equal(Kept(Row(ids, first + i), real), whole.Select(id => (long)id));
                if (labels is null)
                    continue;
                var expected = Kept(Row(labels, first + i), real)
                    .Select(label => labels.EndsWith("mask", StringComparison.Ordinal) ? label == 1 : label != -100);
                Assert.Equal(expected, Enumerable.Range(0, whole.Length).Select(t => t >= whole.Length - answers[i].Ids.Length));
                Assert.DoesNotContain((byte)0, answers[i].Loss.ToArray());
            }
        }

        public void Dispose() => _tensors.Dispose();

        private long[] Row(string tensor, int row)
        {
            var data = _tensors.Read(tensor);
            var width = (int)data.Info.Shape[1];
            return MemoryMarshal.Cast<byte, long>(data.Bytes).Slice(row * width, width).ToArray();
        }

        private static IEnumerable<long> Kept(long[] values, long[] mask) =>
            values.Zip(mask).Where(pair => pair.Second == 1).Select(pair => pair.First);
    }
}
