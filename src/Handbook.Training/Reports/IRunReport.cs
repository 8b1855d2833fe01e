using Handbook.Base.Files;
using Handbook.Training.Progress;

namespace Handbook.Training.Reports;

/// <summary>What a report is told before the first step.</summary>
internal sealed record ReportStart
{
    /// <summary>The method, such as <c>sft</c>.</summary>
    public required string Method { get; init; }

    /// <summary>The run's own name: <c>run_name</c>, or null.</summary>
    public string? RunName { get; init; }

    /// <summary>The run folder.</summary>
    public required string Folder { get; init; }

    /// <summary>What the run is called: by its own name, by a variable of the environment, or as its folder.</summary>
    public string NameOr(string variable) =>
        RunName ?? HubCache.Variable(variable) ?? Path.GetFileName(Path.TrimEndingDirectorySeparator(Folder));

    /// <summary>Every key of the recipe that counted, with its value as JSON has it; no secrets.</summary>
    public required IReadOnlyDictionary<string, object?> Config { get; init; }

    /// <summary>The text of <c>recipe.yaml</c>.</summary>
    public required string Recipe { get; init; }

    /// <summary>The step of the checkpoint that the run goes on from; 0 for a new run.</summary>
    public int ResumeStep { get; init; }

    /// <summary>What <see cref="IRunReport.Begin"/> returned at an earlier start of the run; empty for a new run.</summary>
    public IReadOnlyDictionary<string, string> Before { get; init; } = new Dictionary<string, string>();
}

/// <summary>Keeps what a run logs in the form of a tracking service, on the disk.</summary>
/// <remarks>It hears of the end by <see cref="IRunObserver.Ended"/>, and closes its files when it is disposed; without the first, the run
/// has failed.</remarks>
internal interface IRunReport : IRunObserver, IDisposable
{
    /// <summary>Its name in <c>report_to</c>.</summary>
    string Name { get; }

    /// <summary>Opens its files.</summary>
    /// <returns>What names the run there: <c>run.json</c> keeps it, so that a later start goes on with the same run.</returns>
    /// <exception cref="Handbook.Base.InputException">They cannot be made.</exception>
    IReadOnlyDictionary<string, string> Begin(ReportStart start);
}
