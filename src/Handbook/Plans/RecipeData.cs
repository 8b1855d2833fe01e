using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Data;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Tokenizing;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Grpo;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Plans;

/// <summary>From a recipe's keys to what decides the token rows.</summary>
public static class RecipeData
{
    private const string TemplateFile = "chat_template.jinja";

    /// <summary>The tokenizer of a recipe, with the end token, padding token and chat template that the recipe sets.</summary>
    public static Tokenizer LoadTokenizer(Recipe recipe)
    {
        var tokenizer = Tokenizer.Load(ModelFolder.LocateOrSelf(recipe.Model.TokenizerPath()));
        var data = recipe.Data;
        var template = data.ChatTemplate is { } given ? tokenizer.ChatTemplates.GetValueOrDefault(given) ?? given : data.ChatTemplatePath is { } path ? ReadTemplate(path, TemplatePlace(recipe)) : null;
        // Without any template, the built-in one is used and saved with the tokenizer.
        if (template is null && tokenizer.ChatTemplate is null && recipe.Method != TrainingMethod.Cpt)
            template = ChatTemplate.Of(tokenizer, "chat_template").Source;
        return tokenizer.With(data.EosToken, data.PadToken, template);
    }

    /// <summary>What a method reads of a row.</summary>
    internal static RowUse Use(TrainingMethod method) => PreferenceData.Use(method) ?? (method == TrainingMethod.Cpt ? RowUse.Pretraining : RowUse.FineTuning);

    /// <summary>What decides the rows of a run.</summary>
    /// <param name="recipe">A checked recipe.</param>
    /// <param name="tokenizer">As <see cref="LoadTokenizer"/> gives it.</param>
    public static TrainingDataOptions Options(Recipe recipe, Tokenizer tokenizer)
    {
        var data = recipe.Data;
        var isFirstRevision = recipe.Dialect == RecipeDialect.Mixer;
        var answers = PreferenceData.Options(recipe);
        var packing = data.Packing && answers is null ? Kind(recipe) : PackingKind.None;
        var evaluationPacking = data.PacksEvaluation() && answers is null ? Kind(recipe) : PackingKind.None;
        var addsEnd = data.DatasetKwargs?.AppendConcatToken ?? true;
        var addsSpecial = data.DatasetKwargs?.AddSpecialTokens ?? true;
        return new TrainingDataOptions
        {
            Mixture = recipe.Mixture,
            Tokenizer = tokenizer,
            Chats = tokenizer.ChatTemplate is not null ? new ChatRowEncoder(tokenizer, ChatTemplate.Of(tokenizer, "chat_template")) : null,
            Use = Use(recipe.Method),
            TextColumn = data.TextColumn,
            Rows = new RowTokenizerOptions
            {
                Loss = recipe.Method == TrainingMethod.Cpt ? LossScope.Automatic : Loss(recipe.Sft),
                // Streams are cut into blocks, not row by row.
                MaxLength = packing is PackingKind.Wrapped or PackingKind.ConstantLength ? null : data.MaxLength,
                CutsLeft = data.TruncationSide is { } side ? side == TruncationSide.Left : recipe.Preference.TruncationMode == TruncationMode.KeepEnd,
                EndToken = !isFirstRevision ? EndTokenRule.TextsWithout : data.Packing && addsEnd ? EndTokenRule.Always : EndTokenRule.Never,
                AddSpecialTokens = !isFirstRevision || addsSpecial,
                AddSpecialTokensToChats = isFirstRevision && addsSpecial,
                InsertEmptySystemTurn = isFirstRevision && recipe.Sft.AutoInsertEmptySystemMsg,
                VocabularySize = VocabularySize(recipe),
            },
            Answers = answers,
            MismatchedBlock = PreferenceData.MismatchedBlock(recipe),
            Packing = packing,
            EvaluationPacking = evaluationPacking,
            BlockSize = data.MaxLength ?? 1024,
            UnpackedMaxLength = data.MaxLength,
            Seed = recipe.Training.Seed,
            Evaluates = recipe.Training.Evaluates(),
            MaxBadRows = data.MaxBadRows,
            Threads = data.DatasetNumProc,
            RecipeFolder = Path.GetDirectoryName(Path.GetFullPath(recipe.Path)),
        };
    }

    /// <summary>How many tokens the model has an embedding for; null where the model cannot be looked at.</summary>
    private static int? VocabularySize(Recipe recipe)
    {
        try
        {
            if (recipe.Model.ModelNameOrPath is { } name && ModelFolder.TryFind(name) is { } folder && File.Exists(Path.Combine(folder, "config.json")))
                return PublishedConfig.Load(folder).Decoder.VocabularySize;
        }
        catch (InputException)
        {
            // Whoever loads the model tells what is wrong with it.
        }
        return null;
    }

    /// <summary>The plan of the optimiser steps.</summary>
    public static StepPlan Plan(Recipe recipe, ITokenRows rows) => new(rows, recipe.Method == TrainingMethod.Grpo
        ? Plan(recipe) with
        {
            BatchSize = GrpoOptions.PromptsPerStep(recipe.Training, recipe.Sampling).Prompts,
            AccumulationSteps = GrpoOptions.PromptsPerStep(recipe.Training, recipe.Sampling).MicroBatches,
            PassLength = recipe.Grpo.StepsPerSampling(recipe.Training),
            Passes = recipe.Grpo.NumIterations,
        }
        : Plan(recipe));

    private static StepPlanOptions Plan(Recipe recipe) => recipe.Training.StepPlan() with
    {
        Sequential = IsSequential(recipe),
        Leftover = recipe.Dialect == RecipeDialect.Mixer ? LeftoverRule.CarryOver : LeftoverRule.SmallerStep,
    };

    /// <summary>Whether rows keep their order.</summary>
    internal static bool IsSequential(Recipe recipe) => recipe.Training.TrainSamplingStrategy is { } strategy
        ? strategy == SamplingStrategy.Sequential : PreferenceData.IsSequential(recipe) || !recipe.Grpo.ShuffleDataset;

    private static LossScope Loss(SftOptions sft) =>
        sft.AssistantOnlyLoss ? LossScope.Assistant : sft.CompletionOnlyLoss switch { true => LossScope.Completion, false => LossScope.All, null => LossScope.Automatic };

    /// <summary>With <c>dataset_mixer</c> and no strategy named, blocks are made as that revision of the handbook made them.</summary>
    private static PackingKind Kind(Recipe recipe) => recipe.Data.PackingStrategy switch
    {
        PackingStrategy.Bfd => PackingKind.BestFit,
        _ when recipe.Dialect == RecipeDialect.Mixer && recipe.Sources.GetValueOrDefault("packing_strategy") == KeySource.Dialect => PackingKind.ConstantLength,
        _ => PackingKind.Wrapped,
    };

    /// <summary>Where the file or folder of <c>chat_template_path</c> lies: at its path, beside the recipe, or where models are; null where it is nowhere.</summary>
    internal static string? TemplatePlace(Recipe recipe) => recipe.Data.ChatTemplatePath is not { } path ? null
        : TemplatePlaces(recipe).FirstOrDefault(Path.Exists) ?? ModelFolder.Locate(path);

    /// <summary>Where it is looked for, first to last.</summary>
    internal static IReadOnlyList<string> TemplatePlaces(Recipe recipe) => recipe.Data.ChatTemplatePath is not { } path ? []
        : [.. new[] { Path.GetFullPath(UserFolder.Expand(path)), Path.Combine(Path.GetDirectoryName(Path.GetFullPath(recipe.Path))!, path) }.Concat(ModelFolder.LookedFor(path)).Distinct()];

    private static string ReadTemplate(string path, string? place) => place is null
        ? throw new InputException($"chat_template_path: {path} does not exist", fix: "name a .jinja file or a model folder")
        : File.Exists(place) ? File.ReadAllText(place)
        : File.Exists(Path.Combine(place, TemplateFile)) ? File.ReadAllText(Path.Combine(place, TemplateFile))
        : Tokenizer.Load(place).ChatTemplate ?? throw new InputException($"chat_template_path: {path} holds a tokenizer without a chat template", fix: $"name a folder with {TemplateFile}, or a .jinja file");
}
