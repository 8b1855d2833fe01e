using Handbook.Data;
using Handbook.Text;

namespace Handbook.Recipes;

/// <summary>What the data keys of a recipe mean for the rows.</summary>
public static class RecipeData
{
    /// <summary>How the rows of a recipe are read, tokenised and packed.</summary>
    public static TrainingDataOptions Options(Recipe recipe, Tokenizer tokenizer)
    {
        var data = recipe.Data;
        var switches = data.DatasetKwargs ?? new DatasetSwitches();
        var packing = Kind(recipe, data.Packing);
        var whole = packing is PackingKind.Wrapped or PackingKind.ConstantLength;       // such rows are cut by the blocks
        var oldPacking = packing == PackingKind.ConstantLength;
        return new TrainingDataOptions
        {
            Mixture = recipe.Mixture,
            Tokenizer = tokenizer,
            Chats = tokenizer.ChatTemplate is { } template ? new TemplateRowEncoder(tokenizer, ChatTemplate.Parse(template, "chat_template")) : null,
            Use = recipe.Method == TrainingMethod.Cpt ? RowUse.Pretraining : RowUse.FineTuning,
            TextColumn = data.TextColumn,
            Rows = new RowTokenizerOptions
            {
                Loss = recipe.Sft switch
                {
                    { AssistantOnlyLoss: true } => LossScope.Assistant,
                    { CompletionOnlyLoss: true } => LossScope.Completion,
                    { CompletionOnlyLoss: false } => LossScope.All,
                    _ => LossScope.Automatic,
                },
                MaxLength = whole ? null : data.MaxLength,
                CutsLeft = data.TruncationSide == TruncationSide.Left,
                EndToken = oldPacking ? (switches.AppendConcatToken ? EndTokenRule.Always : EndTokenRule.Never) : EndTokenRule.TextsWithout,
                AddSpecialTokens = switches.AddSpecialTokens,
                AddSpecialTokensToChats = oldPacking && switches.AddSpecialTokens,
                InsertEmptySystemTurn = recipe is { Dialect: RecipeDialect.Mixer, Sft.AutoInsertEmptySystemMsg: true },
            },
            Packing = packing,
            EvaluationPacking = Kind(recipe, data.PacksEvaluation()),
            BlockSize = data.MaxLength ?? 1024,
            Seed = recipe.Training.Seed,
            Evaluates = recipe.Training.Evaluates(),
            MaxBadRows = data.MaxBadRows,
            Threads = data.DatasetNumProc,
            RecipeFolder = Path.GetDirectoryName(Path.GetFullPath(recipe.Path)),
        };
    }

    /// <summary>With <c>dataset_mixer</c> and no strategy named, blocks are made as that revision of the handbook made them.</summary>
    private static PackingKind Kind(Recipe recipe, bool packs) => !packs ? PackingKind.None : recipe.Data.PackingStrategy switch
    {
        PackingStrategy.Bfd => PackingKind.BestFit,
        _ when recipe.Dialect == RecipeDialect.Mixer && recipe.Sources.GetValueOrDefault("packing_strategy") == KeySource.Dialect => PackingKind.ConstantLength,
        _ => PackingKind.Wrapped,
    };
}
