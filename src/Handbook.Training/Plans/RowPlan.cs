using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Data;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Tokenizing;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Grpo;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Sft;

namespace Handbook.Training.Plans;

/// <summary>From the options of a run to what decides its token rows and its steps.</summary>
internal static class RowPlan
{
    private const string TemplateFile = "chat_template.jinja";

    /// <summary>The tokenizer of a run, with the end token, padding token and chat template that its keys set.</summary>
    public static Tokenizer LoadTokenizer(MethodOptions run)
    {
        var named = run.Model.TokenizerPath();
        if (ModelFolder.Locate(named) is not { } place)
            throw InputException.Absent($"{(run.Model.TokenizerNameOrPath is null ? "model_name_or_path" : "tokenizer_name_or_path")}: {named} is not on this machine",
                ModelFolder.LookedFor(named), fix: "name a folder or a file that is there, or a model that `handbook download` brought");
        var tokenizer = Tokenizer.Load(ModelSource.TokenizerOf(place));
        var data = run.Data;
        if (run.Model.TokensToAdd() is { Count: > 0 } tokens)
            tokenizer = tokenizer.WithTokens(tokens, run.Model.SetupChatFormat ? ChatFormat.Roles : null);
        var template = data.ChatTemplate is { } given ? Template(given, tokenizer, run)
            : data.ChatTemplatePath is { } path ? ReadTemplate(path, TemplatePlace(run))
            : run.Model.SetupChatFormat ? ChatTemplate.ChatMl : null;
        // Without any template, the built-in one is used and saved with the tokenizer.
        if (template is null && tokenizer.ChatTemplate is null && run.Definition.Use != RowUse.Pretraining)
            template = ChatTemplate.Of(tokenizer, TemplateName(run)).Source;
        return tokenizer.With(data.EosToken, data.PadToken, template);
    }

    /// <summary>What decides the rows of a run.</summary>
    /// <param name="run">Checked options.</param>
    /// <param name="tokenizer">As <see cref="LoadTokenizer"/> gives it.</param>
    public static TrainingDataOptions Options(MethodOptions run, Tokenizer tokenizer)
    {
        var data = run.Data;
        var isFirstRevision = run.Dialect == RecipeDialect.Mixer;
        var answers = run.Definition.Answers(run);
        var packing = data.Packing && answers is null ? Kind(run) : PackingKind.None;
        var evaluationPacking = data.PacksEvaluation() && answers is null ? Kind(run) : PackingKind.None;
        var addsEnd = data.DatasetKwargs?.AppendConcatToken ?? true;
        var addsSpecial = data.DatasetKwargs?.AddSpecialTokens ?? true;
        return new TrainingDataOptions
        {
            Mixture = run.Mixture,
            Tokenizer = tokenizer,
            Chats = tokenizer.ChatTemplate is not null ? new ChatRowEncoder(tokenizer, ChatTemplate.Of(tokenizer, TemplateName(run)))
                : null,
            Use = run.Definition.Use,
            TextColumn = data.TextColumn,
            Rows = new RowTokenizerOptions
            {
                Loss = run.Definition.Use == RowUse.Pretraining ? LossScope.Automatic : Loss(run.Sft),
                // Streams are cut into blocks, not row by row.
                MaxLength = packing is PackingKind.Wrapped or PackingKind.ConstantLength ? null : data.MaxLength,
                CutsLeft = data.TruncationSide is { } side ? side == TruncationSide.Left
                    : run.Preference.TruncationMode == TruncationMode.KeepEnd,
                EndToken = !isFirstRevision ? EndTokenRule.TextsWithout : data.Packing && addsEnd ? EndTokenRule.Always
                    : EndTokenRule.Never,
                AddSpecialTokens = !isFirstRevision || addsSpecial,
                AddSpecialTokensToChats = isFirstRevision && addsSpecial,
                InsertEmptySystemTurn = isFirstRevision && run.Sft.AutoInsertEmptySystemMsg,
                VocabularySize = VocabularySize(run),
            },
            Answers = answers,
            MismatchedBlock = run.Definition.MismatchedBlock(run),
            Packing = packing,
            EvaluationPacking = evaluationPacking,
            BlockSize = data.MaxLength ?? 1024,
            UnpackedMaxLength = data.MaxLength,
            Seed = run.Training.Seed,
            Evaluates = run.Training.Evaluates(),
            MaxBadRows = data.MaxBadRows,
            Threads = data.DatasetNumProc,
            RecipeFolder = run.Folder,
            Annotations = run.Annotations,
            Decontamination = data.Decontaminate,
        };
    }

    /// <summary>How many tokens the model has an embedding for; null where the model cannot be looked at.</summary>
    private static int? VocabularySize(MethodOptions run)
    {
        try
        {
            if (run.Model.ModelNameOrPath is { } name && ModelFolder.TryFind(name) is not null)
                return AdapterPlan.Source(run).Config().Decoder.VocabularySize;
        }
        catch (InputException)
        {
            // Whoever loads the model tells what is wrong with it.
        }
        return null;
    }

    /// <summary>The plan of the optimiser steps.</summary>
    public static StepPlan Steps(MethodOptions run, ITokenRows rows) => new(rows, StepOptions(run));

    /// <summary>What decides the optimiser steps, whatever the rows.</summary>
    internal static StepPlanOptions StepOptions(MethodOptions run)
    {
        var steps = run.Definition.Steps(run.Training.StepPlan() with
        {
            Sequential = KeepsOrder(run),
            Leftover = run.Dialect == RecipeDialect.Mixer ? LeftoverRule.CarryOver : LeftoverRule.SmallerStep,
        }, run);
        return steps with { AccumulationSteps = checked(steps.AccumulationSteps * run.BatchProcesses) };
    }

    /// <summary>Whether rows keep their order.</summary>
    internal static bool KeepsOrder(MethodOptions run) =>
        run.Training.TrainSamplingStrategy is { } strategy ? strategy == SamplingStrategy.Sequential : run.Definition.KeepsOrder(run);

    private static LossScope Loss(SftOptions sft) =>
        sft.AssistantOnlyLoss ? LossScope.Assistant
            : sft.CompletionOnlyLoss switch { true => LossScope.Completion, false => LossScope.All, null => LossScope.Automatic };

    /// <summary>With <c>dataset_mixer</c> and no strategy named, blocks are made as that revision of the handbook made them.</summary>
    private static PackingKind Kind(MethodOptions run) => run.Data.PackingStrategy switch
    {
        PackingStrategy.Bfd => PackingKind.BestFit,
        _ when run.Dialect == RecipeDialect.Mixer && run.Sources.GetValueOrDefault("packing_strategy") == KeySource.Dialect =>
            PackingKind.ConstantLength,
        _ => PackingKind.Wrapped,
    };

    /// <summary>Where the file or folder of <c>chat_template_path</c> lies: at its path, beside the recipe, or where models are; null where
    /// it is nowhere.</summary>
    internal static string? TemplatePlace(MethodOptions run) => run.Data.ChatTemplatePath is not { } path ? null
        : Beside(run, path).FirstOrDefault(Path.Exists) ?? ModelFolder.Locate(path);

    /// <summary>What messages call the template: the file that it stands in, where it has one.</summary>
    internal static string TemplateName(MethodOptions run)
    {
        if (run.Data.ChatTemplate is not null)
            return "chat_template";
        var (name, place) = run.Data.ChatTemplatePath is { } path ? (path, TemplatePlace(run))
            : run.Model.SetupChatFormat ? (null, null) : (run.Model.TokenizerPath(), ModelFolder.Locate(run.Model.TokenizerPath()));
        return name is null || place is null ? "chat_template"
            : File.Exists(Path.Combine(place, TemplateFile)) ? Path.Combine(name, TemplateFile)
            : File.Exists(place) && run.Data.ChatTemplatePath is not null ? name : "chat_template";
    }

    /// <summary>Whether <c>chat_template_path</c> names something at its path or beside the recipe.</summary>
    internal static bool HasTemplateBeside(MethodOptions run) => run.Data.ChatTemplatePath is { } path
        && Beside(run, path).Any(Path.Exists);

    /// <summary>Where it is looked for, first to last.</summary>
    internal static IReadOnlyList<string> TemplatePlaces(MethodOptions run) => run.Data.ChatTemplatePath is not { } path ? []
        : [.. Beside(run, path).Concat(ModelFolder.LookedFor(path)).Distinct()];

    private static string[] Beside(MethodOptions run, string path) => [Path.GetFullPath(UserFolder.Expand(path)), Path.Combine(run.Folder
        ?? "", path)];

    /// <summary>The template that <c>chat_template</c> names or is.</summary>
    private static string Template(string given, Tokenizer tokenizer, MethodOptions run)
    {
        if (tokenizer.ChatTemplates.TryGetValue(given, out var named))
            return named;
        if (given.Contains("{{", StringComparison.Ordinal) || given.Contains("{%", StringComparison.Ordinal))
            return given;
        var names = tokenizer.ChatTemplates.Keys.Order(StringComparer.Ordinal).ToArray();
        throw new InputException($"chat_template is \"{given}\", which is neither a template in Jinja nor the name of one of the tokenizer's",
            why: names.Length == 0 ? "the tokenizer has no template with a name" : $"the tokenizer has {string.Join(", ", names)}",
            fix: given.Length > 0 && Beside(run, given).Concat(ModelFolder.LookedFor(given)).Any(Path.Exists)
                ? $"a file or a folder is named with chat_template_path: {given}"
                : Spelling.Nearest(given, names) is { } nearest ? $"did you mean {nearest}?"
                : "write the template itself, name a file with chat_template_path, or remove the key");
    }

    private static string ReadTemplate(string path, string? place) => place is null
        ? throw new InputException($"chat_template_path: {path} does not exist", fix: "name a .jinja file or a model folder")
        : File.Exists(place) ? File.ReadAllText(place)
        : File.Exists(Path.Combine(place, TemplateFile)) ? File.ReadAllText(Path.Combine(place, TemplateFile))
        : Tokenizer.Load(place).ChatTemplate ?? throw new InputException($"chat_template_path: {path} holds a tokenizer without a "
            + "chat template", fix: $"name a folder with {TemplateFile}, or a .jinja file");
}
