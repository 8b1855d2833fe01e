using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Data.Tests;
using Handbook.Data.Tokenizing;
using Handbook.Tests.Recipes;
using Handbook.Training.Plans;

namespace Handbook.Tests.Data;

public sealed class RecipeDataTests
{
    [Fact]
    public void The_older_dialect_packs_constant_blocks_with_end_and_begin_tokens()
    {
        var options = Options("model_name_or_path: m\ndataset_mixer:\n  d: 0.5\nmax_seq_length: 64\nbf16: false\n");
        Assert.Equal((PackingKind.ConstantLength, 64, LeftoverRule.CarryOver),
            (options.Packing, options.BlockSize, Leftover("dataset_mixer:\n  d: 1\n")));
        Assert.Equal(new RowTokenizerOptions
        {
            EndToken = EndTokenRule.Always,
            AddSpecialTokens = true,
            AddSpecialTokensToChats = true,
            InsertEmptySystemTurn = true
        }, options.Rows);
    }

    [Fact]
    public void A_named_strategy_wins_over_the_older_dialect() =>
        Assert.Equal(PackingKind.Wrapped, Options("model_name_or_path: m\ndataset_mixer:\n  d: 0.5\npacking_strategy: "
            + "wrapped\nbf16: false\n").Packing);

    [Fact]
    public void The_newer_dialect_cuts_rows_and_ends_texts()
    {
        var options = Options("model_name_or_path: m\ndataset_name: d\nmax_length: 99\nassistant_only_loss: true\nbf16: false\n");
        Assert.Equal(PackingKind.None, options.Packing);
        Assert.Equal(new RowTokenizerOptions { MaxLength = 99, Loss = LossScope.Assistant }, options.Rows);
        Assert.Equal(LeftoverRule.SmallerStep, Leftover("dataset_name: d\n"));
    }

    [Fact]
    public void Streams_are_not_cut_row_by_row_but_rows_beside_them_are()
    {
        var options = Options("model_name_or_path: m\ndataset_name: d\npacking: true\npacking_strategy: wrapped\neval_packing: "
            + "false\nmax_length: 99\nbf16: false\n");
        Assert.Equal((PackingKind.Wrapped, PackingKind.None, (int?)null, (int?)99),
            (options.Packing, options.EvaluationPacking, options.Rows.MaxLength, options.UnpackedMaxLength));
        var cut = new CutRows(Some.RowsOf([1, 2, 3], [4]), 2, cutsLeft: true);
        Assert.Equal([[2, 3], [4]], Some.AllIds(cut));
        Assert.Equal([2, 1], [cut.Length(0), cut.Length(1)]);
    }

    private static TrainingDataOptions Options(string recipe) => RowPlan.Options(RecipeFile.Load(recipe), TextMaker.Bytes);

    /// <summary>Five rows one by one, two to a step: 3 steps an epoch where the rest makes one, 2 where it is carried over.</summary>
    private static LeftoverRule Leftover(string data)
    {
        var recipe = RecipeFile.Load($"model_name_or_path: m\n{data}per_device_train_batch_size: 1\ngradient_accumulation_steps: "
            + "2\nbf16: false\n");
        return RowPlan.Steps(recipe, Some.RowsOf([1, 2], [1, 2], [1, 2], [1, 2], [1, 2])).StepsPerEpoch == 3 ? LeftoverRule.SmallerStep
            : LeftoverRule.CarryOver;
    }
}
