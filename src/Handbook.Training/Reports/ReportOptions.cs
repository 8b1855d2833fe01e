using Handbook.Base;

namespace Handbook.Training.Reports;

/// <summary>Where Weights &amp; Biases files a run.</summary>
public sealed record ReportOptions
{
    /// <summary>The project of a Weights &amp; Biases run; null takes <c>WANDB_PROJECT</c> of the environment, else
    /// <c>huggingface</c>.</summary>
    public string? WandbProject { get; init; }

    /// <summary>The user or team that a Weights &amp; Biases run belongs to; null takes <c>WANDB_ENTITY</c>, else whoever synchronises
    /// it.</summary>
    public string? WandbEntity { get; init; }

    /// <summary>The group of a Weights &amp; Biases run; null takes <c>WANDB_RUN_GROUP</c>.</summary>
    public string? WandbRunGroup { get; init; }
}

/// <summary>What <c>report_to</c> may name.</summary>
internal static class ReportTargets
{
    public const string TensorBoard = "tensorboard";
    public const string Wandb = "wandb";
    public const string Mlflow = "mlflow";
    public const string Csv = "csv";
    public const string All = "all";
    public const string None = "none";

    /// <summary>The names that are honoured.</summary>
    public static IReadOnlyList<string> Names { get; } = [TensorBoard, Wandb, Mlflow, Csv, All, None];

    /// <summary>Services that the Python trainer reports to and this one does not: each keeps no run on the disk that its own client would
    /// take up later.</summary>
    private static readonly string[] s_others = ["aim", "azure_ml", "clearml", "codecarbon", "comet_ml", "comet", "dagshub", "dvclive",
        "flyte",
        "neptune", "swanlab", "trackio"];

    /// <summary>Whether a recipe reports to one of them.</summary>
    /// <param name="names">The value of <c>report_to</c>; null is TensorBoard alone.</param>
    public static bool Has(IReadOnlyList<string>? names, string target) =>
        names is null ? target == TensorBoard : names.Contains(target) || names.Contains(All);

    /// <summary>Says what is wrong with names of <c>report_to</c>.</summary>
    public static void Check(IReadOnlyList<string>? names, Diagnostics report)
    {
        foreach (var name in (names ?? []).Where(name => !Names.Contains(name)))
            if (s_others.Contains(name))
                report.Error("report_to", $"names {name}, which is not written to",
                    why: "what is reported is kept on the disk, in forms that TensorBoard, Weights & Biases and MLflow read; every "
                        + "number is in metrics.jsonl in any case",
                    fix: name is "trackio" or "swanlab" ? $"use wandb, whose form {name} imports, or tensorboard, or none"
                        : "use tensorboard, wandb, mlflow, csv or none; what reads TensorBoard files can take a run from these");
            else
                report.Error("report_to", $"names {(name.Contains(',') ? $"\"{name}\"" : name)}, not one of {string.Join(", ", Names)}",
                    fix: name.Contains(',') ? $"write a list, without quotes around it: [{name}]"
                        : Spelling.Nearest(name, Names) is { } nearest ? $"did you mean {nearest}?"
                        : "use tensorboard, or none for metrics.jsonl alone");
        if (names is { Count: > 1 } && names.Contains(None))
            report.Error("report_to", $"has none among {names.Count} names", fix: "remove none, or the others");
    }
}
