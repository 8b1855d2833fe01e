using Handbook.Base;
using Handbook.Recipes;
using Handbook.Training;
using Handbook.Training.Progress;
using Handbook.Training.Reports;

namespace Handbook.Runs;

/// <summary>The reports that <c>report_to</c> asks for, beside the TensorBoard files that the run folder writes itself.</summary>
internal static class RunReports
{
    /// <summary>Requires that they can be written, before anything is loaded.</summary>
    /// <exception cref="InputException">A variable of the environment names what is not written to, or makes no sense.</exception>
    public static void Require(Recipe recipe)
    {
        var names = recipe.Training.ReportTo;
        if (ReportTargets.Has(names, ReportTargets.Wandb) && !WandbReport.IsDisabled())
        {
            _ = WandbReport.NamedId();
            RunFolder.RequireFolder(WandbReport.Root(), "WANDB_DIR");
        }
        if (ReportTargets.Has(names, ReportTargets.Mlflow))
            MlflowReport.Require();
    }

    public static IReadOnlyList<IRunReport> Of(Recipe recipe, IRunObserver observer)
    {
        var (names, reports) = (recipe.Training.ReportTo, new List<IRunReport>());
        if (ReportTargets.Has(names, ReportTargets.Wandb))
        {
            if (WandbReport.IsDisabled())
                observer.Noted("wandb: nothing is kept for Weights & Biases: WANDB_MODE or WANDB_DISABLED turns it off");
            else
                reports.Add(new WandbReport(recipe.Reports, observer));
        }
        if (ReportTargets.Has(names, ReportTargets.Mlflow))
            reports.Add(new MlflowReport(observer));
        if (ReportTargets.Has(names, ReportTargets.Csv))
            reports.Add(new CsvReport());
        return reports;
    }

    /// <summary>What they are told of a run.</summary>
    /// <param name="folder">The run folder.</param>
    /// <param name="resolved">The text of its <c>recipe.yaml</c>, which has no secrets.</param>
    public static ReportStart Start(Recipe recipe, string folder, string resolved) => new()
    {
        Method = recipe.MethodName,
        RunName = recipe.Training.RunName,
        Folder = folder,
        Recipe = resolved,
        Config = YamlReader.Read(resolved, null, new Diagnostics("recipe.yaml")) is MapNode map
            ? map.Entries.ToDictionary(entry => entry.Key.Text, entry => RecipeBinder.Free(entry.Value)) : new Dictionary<string,
                object?>(),
    };
}
