using Handbook.Runs;
using Handbook.Training.Metrics;

namespace Handbook.Tests.Runs;

/// <summary>The reference of a run of adapters is the model that it began with: the adapter switched off, the adapter that it goes on with as
/// it stood, or the adapter folder that it was named.</summary>
[Collection("tensors")]
public sealed class AdapterReferenceTests(AdapterReferenceTests.Begun begun) : IClassFixture<AdapterReferenceTests.Begun>
{
    // float32 products with the adapter apart and with it merged, through some steps at a high rate
    private const double Merged = 2e-3;

    private readonly AdapterRuns _runs = begun.Runs;

    public static TheoryData<string, string> Methods() => new()
    {
        { "dpo", "precompute_ref_log_probs: true" },
        { "dpo", "precompute_ref_log_probs: false" },
        { "kto", "precompute_ref_log_probs: true" },
        { "bco", "precompute_ref_log_probs: false" },
        { "grpo", "lora_dropout: 0" },        // GRPO keeps dropout, which a reference has not
    };

    [Theory, MemberData(nameof(Methods))]
    public void The_adapter_switched_off_is_the_reference_of_a_new_one(string method, string key) => Is(_runs["model"], method, key);

    [Theory, MemberData(nameof(Methods))]
    public void An_adapter_that_training_goes_on_with_is_the_reference_as_it_stood(string method, string key) =>
        Is(_runs["merged"], method, key, $"adapter_name_or_path: {_runs["a"]}");

    [Theory, MemberData(nameof(Methods))]
    public void An_adapter_folder_that_is_the_model_is_the_reference_of_an_adapter_over_it(string method, string key) =>
        Is(_runs["merged"], method, key, $"model_name_or_path: {_runs["a"]}");

    /// <summary>Requires that a run begins with its own reference, and goes on as one beside a plain model.</summary>
    private void Is(string reference, string method, params string[] keys)
    {
        var name = $"{method}-{begun.Next()}";
        var own = _runs.Train(method, $"{name}-own", ["max_steps: 3", .. keys]);
        var beside = _runs.Train(method, $"{name}-beside", ["max_steps: 3", .. keys, $"ref_model_name_or_path: {reference}"]);

        foreach (var (metric, value) in Rewards(own[0]))
            Assert.Equal((metric, 0), (metric, value));
        Assert.Contains(Rewards(own[^2]), metric => Math.Abs(metric.Value) > 1e-3);
        foreach (var (ours, theirs) in own.Zip(beside))
            foreach (var (metric, value) in Rewards(ours).Append(("loss", ours.Number("loss") ?? 0)))
                Assert.True(Math.Abs(value - (theirs.Number(metric) ?? 0)) <= Merged, $"{metric}: {value}, beside the plain model {theirs.Number(metric)}");
    }

    private static (string Name, double Value)[] Rewards(MetricSet line) => [.. line
        .Where(metric => metric.Key == "kl" || metric.Key is "rewards/chosen" or "rewards/rejected" or "rewards/margins")
        .Select(metric => (metric.Key, line.Number(metric.Key)!.Value))];

    /// <summary>An adapter <c>a</c> on <c>model</c>, and both merged.</summary>
    public sealed class Begun : IDisposable
    {
        private int _count;

        public Begun()
        {
            Runs.Train("cpt", "a", "lora_r: 2", "learning_rate: 0.05");
            MergeRun.Run(new() { Adapter = Runs["a"], Output = Runs["merged"] });
        }

        internal AdapterRuns Runs { get; } = new();

        public int Next() => ++_count;

        public void Dispose() => Runs.Dispose();
    }
}
