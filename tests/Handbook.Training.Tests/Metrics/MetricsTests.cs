using System.Text.Json;
using Handbook.Testing;
using Handbook.Training.Metrics;

namespace Handbook.Training.Tests.Metrics;

public sealed class MetricsFileTests : IDisposable
{
    private readonly TemporaryFolder _run = new();

    public void Dispose() => _run.Dispose();

    [Fact]
    public void Each_step_stands_once_after_any_number_of_resumes()
    {
        using (var file = MetricsFile.Open(_run.Path, 0))
            for (var step = 1; step <= 7; step++)
                file.Append(step, new MetricSet { ["loss"] = 1.0 / step });
        File.AppendAllText(_run["metrics.jsonl"], "{\"step\": 8, \"lo");     // killed in the middle of a line
        using (var file = MetricsFile.Open(_run.Path, 5))
            for (var step = 6; step <= 9; step++)
                file.Append(step, new MetricSet { ["loss"] = 1.0 / step });
        using (MetricsFile.Open(_run.Path, 9))
        {
        }

        var all = MetricsFile.ReadAll(_run.Path);
        Assert.Equal([1, 2, 3, 4, 5, 6, 7, 8, 9], all.Select(entry => (int)entry["step"].Value));
        Assert.All(all, entry => Assert.Equal(1.0 / entry["step"].Value, entry["loss"].Value));
        Assert.EndsWith("}\n", File.ReadAllText(_run["metrics.jsonl"]), StringComparison.Ordinal);
    }

    [Fact]
    public void An_evaluation_joins_the_line_of_its_step_also_after_a_resume()
    {
        using (var file = MetricsFile.Open(_run.Path, 0))
        {
            file.Append(1, new MetricSet { ["loss"] = 3.5 });
            file.Append(2, new MetricSet { ["loss"] = 3.25 });
        }
        using (var file = MetricsFile.Open(_run.Path, 2))
        {
            file.Append(2, new MetricSet { ["eval_loss"] = 3.125 });
            file.Append(3, new MetricSet { ["loss"] = 3.0 });
        }
        Assert.Equal("""
            {"step": 1, "loss": 3.5}
            {"step": 2, "loss": 3.25, "eval_loss": 3.125}
            {"step": 3, "loss": 3.0}

            """, File.ReadAllText(_run["metrics.jsonl"]));
    }

    [Fact]
    public void A_run_from_the_start_begins_an_empty_file()
    {
        File.WriteAllText(_run["metrics.jsonl"], "{\"step\": 1, \"loss\": 9.0}\n");
        using (var file = MetricsFile.Open(_run.Path, 0))
        {
            Assert.NotEqual("", File.ReadAllText(_run["metrics.jsonl"]));      // it may turn out that the run cannot begin
            file.Begin();
            Assert.Equal("", File.ReadAllText(_run["metrics.jsonl"]));
        }
    }

    [Fact]
    public void A_step_before_the_last_one_is_a_mistake_of_ours()
    {
        using var file = MetricsFile.Open(_run.Path, 0);
        file.Append(3, []);
        Assert.Throws<InvalidOperationException>(() => file.Append(2, []));
    }
}

public sealed class PythonJsonTests
{
    [Theory] // Python 3.11: repr of each
    [InlineData(0.0, "0.0")]
    [InlineData(-0.0, "-0.0")]
    [InlineData(1.0, "1.0")]
    [InlineData(-2.5, "-2.5")]
    [InlineData(0.1, "0.1")]
    [InlineData(0.0001, "0.0001")]
    [InlineData(0.00012345, "0.00012345")]
    [InlineData(5e-05, "5e-05")]
    [InlineData(1.2345e-07, "1.2345e-07")]
    [InlineData(5e-324, "5e-324")]
    [InlineData(123456789.125, "123456789.125")]
    [InlineData(1e15, "1000000000000000.0")]
    [InlineData(1234567890123456.0, "1234567890123456.0")]
    [InlineData(1e16, "1e+16")]
    [InlineData(1.7976931348623157e308, "1.7976931348623157e+308")]
    [InlineData(9.9999999999999999e22, "1e+23")]
    [InlineData(0.30000000000000004, "0.30000000000000004")]
    [InlineData(9.999999999999998, "9.999999999999998")]
    [InlineData(double.NaN, "null")]
    public void Numbers_are_laid_out_as_in_Python(double value, string expected) => Assert.Equal(expected, PythonJson.Number(value));

    [Fact]
    public void Every_number_reads_back_as_itself()
    {
        var random = new Random(1);
        for (var i = 0; i < 5000; i++)
        {
            var value = BitConverter.Int64BitsToDouble(random.NextInt64(long.MinValue, long.MaxValue));
            if (!double.IsFinite(value))
                continue;
            Assert.Equal(value, double.Parse(PythonJson.Number(value)));
        }
    }

    [Fact] // Python 3.11: json.dumps({"b": [1, 2.0], "a": "é\n", "c": {}}, indent=4, sort_keys=True)
    public void Objects_are_laid_out_as_in_Python() => Assert.Equal(
        """
        {
            "a": "\u00e9\n",
            "b": [
                1,
                2.0
            ],
            "c": {}
        }
        """,
        PythonJson.Write(new Dictionary<string, object?>
        {
            ["b"] = new object?[] { 1, 2.0 },
            ["a"] = "é\n",
            ["c"] = new Dictionary<string, object?>()
        }, 4, true));
}

public sealed class TrainerStateTests : IDisposable
{
    private readonly TemporaryFolder _run = new();

    public void Dispose() => _run.Dispose();

    [Fact]
    public void It_has_the_keys_of_the_Python_trainer_and_reads_back()
    {
        var state = new TrainerState
        {
            BestMetric = 1.25,
            BestModelCheckpoint = "runs/a/checkpoint-4",
            Epoch = 0.5,
            GlobalStep = 4,
            EvalSteps = 4,
            LoggingSteps = 1,
            SaveSteps = 4,
            MaxSteps = 8,
            NumTrainEpochs = 1,
            NumInputTokensSeen = 12345,
            TotalFlos = 6.5e9,
            TrainBatchSize = 2,
            LogHistory = { new MetricSet { ["epoch"] = 0.125, ["grad_norm"] = 0.1 + 0.2, ["loss"] = 2.5, ["step"] = 1 } },
        };
        state.Save(_run.Path);

        using var document = JsonDocument.Parse(File.ReadAllText(_run["trainer_state.json"]));
        Assert.Equal(
            ["best_global_step", "best_metric", "best_model_checkpoint", "epoch", "eval_steps", "global_step", "is_hyper_param_search",
                "is_local_process_zero", "is_world_process_zero", "log_history", "logging_steps", "max_steps", "num_input_tokens_seen",
                "num_train_epochs", "save_steps", "stateful_callbacks", "total_flos", "train_batch_size", "trial_name", "trial_params"],
            document.RootElement.EnumerateObject().Select(property => property.Name));
        var back = TrainerState.Load(_run["trainer_state.json"]);
        Assert.Equal(state.ToJson(), back.ToJson());
        Assert.Equal(0.1 + 0.2, back.LogHistory[0]["grad_norm"].Value);
    }
}
