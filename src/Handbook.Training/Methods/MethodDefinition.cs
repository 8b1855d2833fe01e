using System.Reflection;
using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Base.Progress;
using Handbook.Data;
using Handbook.Data.Decontamination;
using Handbook.Data.Formats;
using Handbook.Data.Tokenizing;
using Handbook.Models;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;

namespace Handbook.Training.Methods;

/// <summary>What a training method brings: the rows that it reads, its keys with their defaults and checks, its model's head, its
/// references, its loss and metrics.</summary>
/// <remarks>The code that loads a recipe, checks it, plans a run or runs it asks here, and tells no method from another.</remarks>
internal abstract class MethodDefinition
{
    private static readonly Lazy<MethodDefinition[]> s_all = new(() => [.. Enum.GetValues<TrainingMethod>().Select(method =>
        typeof(TrainingMethod).GetField(method.ToString())!.GetCustomAttribute<DefinedAttribute>()!.Make(method))]);

    /// <summary>Every method, in the order of the table.</summary>
    public static IReadOnlyList<MethodDefinition> All => s_all.Value;

    /// <summary>The method that is defined.</summary>
    public TrainingMethod Method { get; init; }

    /// <summary>The method as its command is called.</summary>
    public string Name => RecipeNames.Of(Method);

    /// <summary>What the command does, for its help: one line, and more behind an empty one.</summary>
    public abstract string Summary { get; }

    /// <summary>The paper that introduced it; null for what is older than any.</summary>
    public virtual MethodPaper? Paper => null;

    /// <summary>Other words for it in names of files and folders.</summary>
    public virtual IReadOnlyList<string> OtherNames => [];

    /// <summary>The definition of a method.</summary>
    public static MethodDefinition Of(TrainingMethod method) => s_all.Value[(int)method];

    // ---- keys

    /// <summary>The keys that it reads among those that not every method reads, by the names of their properties.</summary>
    public abstract IReadOnlyList<string> Keys { get; }

    /// <summary>Keys that it does not read although all others do, or although another method reads them from its recipe, each with the
    /// reason.</summary>
    public virtual IReadOnlyList<(string Key, string Why)> Unread => [];

    /// <summary>The enumeration of its losses; null where <c>loss_type</c> is not its key.</summary>
    public virtual Type? Losses => null;

    /// <summary>Its own learning rate, where the user wrote none.</summary>
    protected virtual double? LearningRate(PreferenceOptions written) => null;

    /// <summary>What holds for keys that the user did not write, where it differs from the records.</summary>
    /// <param name="dialect">The way in which the recipe is written.</param>
    /// <param name="written">The preference keys as they are written: the release that is asked for moves some defaults.</param>
    public virtual IEnumerable<(string Key, object? Value, KeySource Source)> Defaults(RecipeDialect dialect, PreferenceOptions written)
    {
        if (dialect == RecipeDialect.Mixer)
        {
            yield return ("learning_rate", 5e-5, KeySource.Dialect);
            yield return ("logging_steps", new StepInterval(500), KeySource.Dialect);
            if (DecontaminatesFirstRevision)
                yield return ("decontaminate", DecontaminationOptions.FirstRevision, KeySource.Dialect);
        }
        else if (LearningRate(written) is { } rate)
            yield return ("learning_rate", rate, KeySource.Method);
    }

    /// <summary>Whether recipes with <c>dataset_mixer</c> leave out rows that hold texts of HumanEval, as the scripts of that time did.</summary>
    protected virtual bool DecontaminatesFirstRevision => false;

    /// <summary>Reports what must not be among its keys.</summary>
    public virtual void Check(MethodOptions run, Diagnostics report)
    {
    }

    // ---- what is measured

    /// <summary>What an evaluation measures beside its loss and its speed, under the names that are logged without <c>eval_</c>.</summary>
    public virtual IEnumerable<string> Measures(MethodOptions run) => [];

    /// <summary>Everything that an evaluation measures, with <c>eval_</c>.</summary>
    public IReadOnlyList<string> Measured(MethodOptions run) =>
        [.. Measures(run).Prepend("loss").Concat(BalancesExperts || run.Training.RouterAuxLossCoef is not null ? ["aux_loss"] : [])
            .Concat(["runtime", "samples_per_second", "steps_per_second"]).Select(name => $"eval_{name}")];

    // ---- rows

    /// <summary>What it reads of a row.</summary>
    public abstract RowUse Use { get; }

    /// <summary>Whether rows are texts to predict, which may be packed; otherwise they are prompts, with or without answers.</summary>
    public bool ReadsTexts => Use is RowUse.FineTuning or RowUse.Pretraining;

    /// <summary>What the rows of a step are called.</summary>
    public virtual string RowNoun => "rows";

    /// <summary>How prompts and answers become tokens; null for methods that read texts.</summary>
    public virtual PreferenceTokenizerOptions? Answers(MethodOptions run) => null;

    /// <summary>Whether <c>max_completion_length</c> cuts nothing with these options.</summary>
    public virtual bool IgnoresCompletionLength(MethodOptions run) => false;

    /// <summary>Whether rows keep their order where no key says how they are ordered.</summary>
    public virtual bool KeepsOrder(MethodOptions run) => false;

    /// <summary>The rows that exchange answers, in training and evaluation alike: those over which the loss is one mean in training. null
    /// where none do.</summary>
    public virtual int? MismatchedBlock(MethodOptions run) => null;

    /// <summary>The keys that say how long a row may be, with the tokens that they allow together; null where they set no limit.</summary>
    public virtual (string Keys, int Length)? LongestRow(MethodOptions run) => run.Data.MaxLength is { } length ? ("max_length", length) : null;

    /// <summary>The answers that its steps write before they learn; null where rows hold what is learnt.</summary>
    public virtual WrittenAnswers? Writes(MethodOptions run) => null;

    /// <summary>The steps over its rows.</summary>
    /// <param name="steps">What the keys of training say, counted in rows.</param>
    public virtual StepPlanOptions Steps(StepPlanOptions steps, MethodOptions run) => steps;

    /// <summary>What is to be known of its rows before they are trained on.</summary>
    public virtual SurveyOptions Survey(MethodOptions run) => new();

    /// <summary>Tells what is unusual about its rows.</summary>
    public virtual void Tell(RowSurvey survey, MethodOptions run, IWorkObserver observer)
    {
    }

    // ---- the run

    /// <summary>The method that trains: itself, but for a pipeline the one of its training stage, or null where that trains
    /// nothing.</summary>
    public virtual MethodDefinition? Trains(MethodOptions run) => this;

    /// <summary>The methods that the training stage of a pipeline may have, whose keys it reads as well; none for most.</summary>
    public virtual IReadOnlyList<MethodDefinition> Stages => [];

    /// <summary>Whether it samples its rows and hands them to another method to train on.</summary>
    public bool IsPipeline => Stages.Count > 0;

    /// <summary>What its model puts out.</summary>
    public virtual ModelHead Head => ModelHead.Language;

    /// <summary>Whether a reference model is asked.</summary>
    public virtual bool AsksReference(MethodOptions run) => false;

    /// <summary>Whether its trainer leaves dropout out unless it is told otherwise.</summary>
    public virtual bool DisablesDropout => false;

    /// <summary>Whether the trainer of TRL 1.9 balances experts without being told to.</summary>
    public virtual bool BalancesExperts => false;

    /// <summary>Whether scores of the answers to its prompts come from <c>reward_funcs</c>.</summary>
    public virtual bool ScoresAnswers => false;

    /// <summary>Opens what a run needs beside its model, and prepares its rows.</summary>
    /// <exception cref="OperationCanceledException">The run was cancelled; what was computed so far is kept.</exception>
    public virtual IMethodRun Begin(MethodStart start) =>
        throw new InvalidOperationException($"{Name} is a pipeline: what it trains begins by itself");

    /// <summary>What to do with the model that was trained, as a command.</summary>
    /// <param name="folder">Where it lies.</param>
    public virtual string WhatNext(string folder) => $"talk to it with `handbook chat {folder}`";
}
