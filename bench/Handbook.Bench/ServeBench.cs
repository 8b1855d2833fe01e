using System.Diagnostics;
using System.Text.Json;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Models.Serving;

namespace Handbook.Bench;

/// <summary>What <see cref="ServeBench"/> found: tokens of a second with one client and with sixteen, and seconds to a first token alone and
/// beside fifteen streams.</summary>
internal sealed record ServeResult(double OneByOne, double Sixteen, double FirstAlone, double FirstBesideFifteen);

/// <summary>The engine of `serve` with one client and with many.</summary>
internal static class ServeBench
{
    private const int Clients = 16, Prompt = 64, New = 48, Rounds = 1, Firsts = 9;

    /// <summary>Two rows: throughput beside one-by-one, and the first token of a new client beside that of one who is alone.</summary>
    public static BenchRow[] Rows(string name, bool quick)
    {
        var runs = Enumerable.Range(0, quick ? 1 : 3).Select(_ => JsonSerializer.Deserialize<ServeResult>(
            Comparison.JsonOf(Environment.ProcessPath!, null, ["serve", "15m", "f32"])!.Value)!).ToArray();
        return [Row(name, "tokens/s", run => (run.Sixteen, run.OneByOne),
                "sixteen clients against one request after another, 48 tokens each behind 64"),
            Row($"{name}-first-token", "s", run => (run.FirstBesideFifteen, run.FirstAlone),
                "a new client while fifteen stream, against one who is alone")];

        BenchRow Row(string called, string unit, Func<ServeResult, (double Ours, double Other)> of, string note) =>
            new(called, Comparison.Median(runs.Select(run => of(run).Ours)), Comparison.Median(runs.Select(run => of(run).Other)),
                Comparison.Median(runs.Select(run => of(run).Ours / of(run).Other)), unit, note);
    }

    public static ServeResult Measure(Shape shape, bool bf16)
    {
        using var model = StepBench.Model(shape, bf16, trainable: false);
        using var engine = new AnswerEngine(new() { MaxRows = Clients });
        var random = new Random(17);
        Ask(New).Done.Wait();
        var clock = Stopwatch.StartNew();
        for (var i = 0; i < 2 * Rounds; i++)
            Ask(New).Done.Wait();
        var one = 2 * Rounds * New / clock.Elapsed.TotalSeconds;
        clock.Restart();
        Task.WaitAll([.. Enumerable.Range(0, Clients).Select(_ => Task.Run(async () =>
        {
            for (var i = 0; i < Rounds; i++)
                await Ask(New).Done;
        }))]);
        var sixteen = Clients * Rounds * New / clock.Elapsed.TotalSeconds;
        var alone = Comparison.Median(Enumerable.Range(0, Firsts).Select(_ => First()));
        using var leave = new CancellationTokenSource();
        var streams = Enumerable.Range(0, Clients - 1).Select(_ => Ask(1024, leave.Token)).ToArray();
        Task.WaitAll([.. streams.Select(stream => stream.First)]);
        var beside = Comparison.Median(Enumerable.Range(0, Firsts).Select(_ => First()));
        leave.Cancel();
        return new(one, sixteen, alone, beside);

        double First()
        {
            Thread.Sleep(random.Next(50));      // who comes does not wait for the end of a step
            var waited = Stopwatch.StartNew();
            var asked = Ask(2);
            asked.First.Wait();
            var seconds = waited.Elapsed.TotalSeconds;
            asked.Done.Wait();
            return seconds;
        }

        (Task First, Task Done) Ask(int length, CancellationToken cancel = default)
        {
            int[] prompt;
            lock (random)
                prompt = [.. Enumerable.Range(0, Prompt).Select(_ => random.Next(3, shape.Vocabulary))];
            var (first, done) = (new TaskCompletionSource(), new TaskCompletionSource());
            engine.Submit(new()
            {
                Model = model,
                Tokens = prompt,
                Sampling = new() { MaxNewTokens = length },
                OnToken = (_, _) => first.TrySetResult() || true,
                OnAnswer = (_, _) => { },
                OnEnd = _ => done.SetResult(),
                Cancel = cancel,
            });
            return (first.Task, done.Task);
        }
    }
}
