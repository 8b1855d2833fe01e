using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;
using Handbook.Training.Metrics;
using Handbook.Training.Progress;

namespace Handbook.Training.Reports;

/// <summary>A run in MLflow's file store: metrics under the names that they are logged by, the recipe's keys as parameters.</summary>
/// <remarks>A run that goes on from a checkpoint goes on with its id, without what was logged after that step.</remarks>
internal sealed class MlflowReport(IWorkObserver observer) : IRunReport
{
    /// <summary>The longest parameter that MLflow takes.</summary>
    private const int LongestValue = 6000;

    private string? _folder;
    private bool? _isFinished;

    public string Name => ReportTargets.Mlflow;

    /// <summary>Requires what the environment says of MLflow to make sense.</summary>
    /// <exception cref="InputException">It does not.</exception>
    public static void Require()
    {
        var store = MlflowStore.FromEnvironment();
        if (HubCache.Variable("MLFLOW_RUN_ID") is { } run && store.Find(run) is null)
            throw new InputException($"report_to: MLFLOW_RUN_ID is {run}, but {store.Root} has no such run",
                fix: "export the id of a run that is there, or none for a new run");
        if (HubCache.Variable("MLFLOW_EXPERIMENT_ID") is { } id)
            store.Experiment(id, null);
        _ = Tags();
    }

    public IReadOnlyDictionary<string, string> Begin(ReportStart start)
    {
        var store = MlflowStore.FromEnvironment();
        var name = start.NameOr("MLFLOW_RUN_NAME");
        var named = start.Before.GetValueOrDefault("run_id") ?? HubCache.Variable("MLFLOW_RUN_ID");
        _folder = named is null ? null : store.Find(named);
        if (_folder is not null)
        {
            MlflowStore.SetStatus(_folder, MlflowStatus.Running);
            if (start.Before.ContainsKey("run_id"))
                MlflowStore.CutAfter(_folder, start.ResumeStep);
        }
        else
        {
            var experiment = store.Experiment(HubCache.Variable("MLFLOW_EXPERIMENT_ID"), HubCache.Variable("MLFLOW_EXPERIMENT_NAME"));
            _folder = store.Begin(experiment, named ?? Guid.NewGuid().ToString("N"), name);
            SetTags(start, name);
            SetParameters(start);
            WholeFile.WriteText(Path.Combine(_folder, "artifacts", "recipe.yaml"), start.Recipe, durable: false);
        }
        observer.Noted($"mlflow: the run is kept in {_folder}; look at it with `mlflow ui --backend-store-uri {store.Root}`");
        return new Dictionary<string, string>
        {
            ["run_id"] = Path.GetFileName(_folder),
            ["folder"] = Path.GetRelativePath(start.Folder, _folder),
        };
    }

    public void Logged(int steps, double epoch, MetricSet metrics) => Log(steps, metrics);

    public void Evaluated(int steps, double epoch, MetricSet metrics) => Log(steps, metrics);

    public void Ended(TrainingSummary summary) => _isFinished = summary.Finished;

    public void Dispose()
    {
        if (_folder is null)
            return;
        MlflowStore.SetStatus(_folder, _isFinished switch
        {
            true => MlflowStatus.Finished,
            false => MlflowStatus.Killed,
            null => MlflowStatus.Failed,
        });
        _folder = null;
    }

    private void Log(int step, MetricSet metrics)
    {
        foreach (var (name, value) in metrics)
            MlflowStore.Log(_folder!, name, value, step);
    }

    private void SetTags(ReportStart start, string name)
    {
        var tags = new Dictionary<string, string>(Tags())
        {
            ["mlflow.runName"] = name,
            ["mlflow.user"] = Environment.UserName,
            ["mlflow.source.name"] = $"handbook {start.Method}",
            ["mlflow.source.type"] = "LOCAL",
        };
        if (RunInfo.Commit is { } commit)
            tags["handbook.commit"] = commit;
        foreach (var (tag, value) in tags)
            MlflowStore.Set(_folder!, "tags", tag, value);
    }

    private void SetParameters(ReportStart start)
    {
        var left = new List<string>();
        foreach (var (key, value) in start.Config.Prepend(new("method", start.Method)))
        {
            var text = value is string word ? word : PythonJson.Write(value);
            if (text.Length > LongestValue)
                left.Add(key);
            else
                MlflowStore.Set(_folder!, "params", key, text);
        }
        if (left.Count > 0)
            observer.Noted($"mlflow: {string.Join(", ", left)}: longer than the {LongestValue} letters of a parameter; "
                + "the artifact recipe.yaml has all");
    }

    /// <summary>What <c>MLFLOW_TAGS</c> says: a JSON object of texts.</summary>
    private static Dictionary<string, string> Tags()
    {
        if (HubCache.Variable("MLFLOW_TAGS") is not { } text)
            return [];
        try
        {
            return JsonSerializer.Deserialize<Dictionary<string, JsonElement>>(text)!
                .ToDictionary(tag => tag.Key, tag => tag.Value.ToString());
        }
        catch (JsonException problem)
        {
            throw new InputException("report_to: MLFLOW_TAGS is not a JSON object", fix: """export MLFLOW_TAGS='{"team": "alignment"}'""",
                inner: problem);
        }
    }
}
