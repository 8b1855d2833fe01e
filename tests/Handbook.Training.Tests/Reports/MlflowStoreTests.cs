using Handbook.Base;
using Handbook.Testing;
using Handbook.Training.Reports;

namespace Handbook.Training.Tests.Reports;

[Collection("environment")]
public sealed class MlflowStoreTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    [Fact]
    public void A_new_store_has_the_default_experiment_and_finds_others_by_name()
    {
        var store = new MlflowStore(_folder["runs"]);
        Assert.Equal("0", store.Experiment(null, null));
        Assert.Equal(["artifact_location: file://" + _folder["runs", "0"], "experiment_id: '0'", "lifecycle_stage: active",
            "name: Default"],
            File.ReadAllLines(_folder["runs", "0", "meta.yaml"]).Where(line => !line.Contains("_time")));
        var made = store.Experiment(null, "a: 'b'");
        Assert.Matches("^[1-9][0-9]{9,17}$", made);
        Assert.Equal(made, store.Experiment(null, "a: 'b'"));
        Assert.Equal(made, store.Experiment(made, null));
        Assert.Contains("name: 'a: ''b'''", File.ReadAllLines(_folder["runs", made, "meta.yaml"]));
        Assert.Contains("no such experiment", Assert.Throws<InputException>(() => store.Experiment("77", null)).What);
        // as the Python client writes a name that needs quotes
        File.WriteAllText(_folder["runs", made, "meta.yaml"], $"experiment_id: '{made}'\nname: \"tab\\there\"\n");
        Assert.Equal(made, store.Experiment(null, "tab\there"));
    }

    [Fact]
    public void A_run_has_its_values_one_file_each()
    {
        var store = new MlflowStore(_folder["runs"]);
        var run = store.Begin(store.Experiment(null, null), "0123456789abcdef0123456789abcdef", "first: one");
        Assert.Equal(run, store.Find("0123456789abcdef0123456789abcdef"));
        Assert.Null(store.Find("../0"));
        MlflowStore.Log(run, "loss", 1.5, 1);
        MlflowStore.Log(run, "loss", double.NaN, 2);
        MlflowStore.Log(run, "rewards/chosen", 2L, 2);
        MlflowStore.Log(run, "rewards", 3.0, 2);                // a folder by now
        MlflowStore.Log(run, "loss/more", 4.0, 2);              // loss is a file
        MlflowStore.Log(run, "..", 5.0, 2);
        MlflowStore.Log(run, "a(b)*", 6.0, 2);
        Assert.Equal(["_", "a_b__", "loss", "loss.more", "rewards/chosen", "rewards_"], Files(run, "metrics"));
        Assert.Equal(["1.5 1", "nan 2"], File.ReadAllLines(Path.Combine(run, "metrics", "loss")).Select(line => line[(line.IndexOf(' ')
            + 1)..]));
        MlflowStore.Set(run, "params", "learning_rate", "2e-05");
        Assert.Equal("2e-05", File.ReadAllText(Path.Combine(run, "params", "learning_rate")));
        Assert.Contains("status: 1", File.ReadAllLines(Path.Combine(run, "meta.yaml")));
        Assert.Contains("run_name: 'first: one'", File.ReadAllLines(Path.Combine(run, "meta.yaml")));

        MlflowStore.CutAfter(run, 1);
        Assert.Equal(["loss"], Files(run, "metrics"));
        MlflowStore.SetStatus(run, MlflowStatus.Finished);
        Assert.Contains("status: 3", File.ReadAllLines(Path.Combine(run, "meta.yaml")));
        Assert.DoesNotContain("end_time: null", File.ReadAllLines(Path.Combine(run, "meta.yaml")));
    }

    [Theory]
    [InlineData("file:///tmp/with%20space/runs", "/tmp/with space/runs")]
    [InlineData("file:/tmp/runs", "/tmp/runs")]
    [InlineData("/tmp/runs", "/tmp/runs")]
    public void The_environment_names_the_store(string uri, string place) =>
        WithUri(uri, () => Assert.Equal(place, MlflowStore.FromEnvironment().Root));

    [Theory]
    [InlineData("http://user:secret@host:5000", "http:")]
    [InlineData("sqlite:///mlflow.db", "sqlite:")]
    [InlineData("databricks://profile", "databricks:")]
    public void A_server_or_a_data_base_is_refused_without_its_secrets(string uri, string named) => WithUri(uri, () =>
    {
        var refused = Assert.Throws<InputException>(MlflowStore.FromEnvironment);
        Assert.Contains($"names {named}, and runs are kept for MLflow in files alone", refused.What);
        Assert.DoesNotContain("secret", refused.Message);
        Assert.Contains("MLFLOW_TRACKING_URI=file:./mlruns", refused.Fix);
    });

    public void Dispose() => _folder.Dispose();

    private static void WithUri(string uri, Action act)
    {
        Environment.SetEnvironmentVariable("MLFLOW_TRACKING_URI", uri);
        try
        {
            act();
        }
        finally
        {
            Environment.SetEnvironmentVariable("MLFLOW_TRACKING_URI", null);
        }
    }

    private static IEnumerable<string> Files(string run, string kind) => Directory.EnumerateFiles(Path.Combine(run, kind), "*",
        SearchOption.AllDirectories)
        .Select(file => Path.GetRelativePath(Path.Combine(run, kind), file)).Order(StringComparer.Ordinal);
}
