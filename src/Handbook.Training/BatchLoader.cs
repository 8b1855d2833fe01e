using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.ExceptionServices;
using Handbook.Data;
using Handbook.Torch.Distributed;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;

namespace Handbook.Training;

/// <summary>The rows of one optimiser step, laid out for the network.</summary>
/// <param name="Rows">Which rows.</param>
/// <param name="Groups">The rows whose losses are one mean each: mostly all of the step.</param>
internal sealed record StepWork(StepRows Rows, IReadOnlyList<LossGroup> Groups)
{
    /// <summary>Tokens of the rows.</summary>
    public long Tokens => Groups.Sum(group => group.Tokens);
}

/// <summary>Prepares the next steps on a thread of its own, so that the training thread never waits for rows.</summary>
internal sealed class BatchLoader : IDisposable
{
    private const int Ahead = 4;

    private readonly BlockingCollection<StepWork> _ready = new(Ahead);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _work;
    private ExceptionDispatchInfo? _failure;

    /// <param name="rows">The training rows.</param>
    /// <param name="plan">Which rows belong to which step.</param>
    /// <param name="method">Says which rows are a group, and counts them.</param>
    /// <param name="maxTokens">Most tokens of a bin; a longer row has a bin for itself.</param>
    /// <param name="firstStep">The first step to prepare.</param>
    /// <param name="endStep">The step after the last.</param>
    /// <param name="workers">Who takes a share of each step; null for this worker alone.</param>
    public BatchLoader(ITokenRows rows, StepPlan plan, ITrainingMethod method, int maxTokens, int firstStep, int endStep,
        Workers? workers = null) =>
        _work = Task.Factory.StartNew(() => Prepare(rows, plan, method, maxTokens, firstStep, endStep, workers ?? Workers.Alone),
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <summary>Time that <see cref="Next"/> has waited.</summary>
    public TimeSpan Waited { get; private set; }

    /// <summary>The next step, in order.</summary>
    public StepWork Next()
    {
        if (_ready.TryTake(out var ready))
            return ready;
        var start = Stopwatch.GetTimestamp();
        var found = _ready.TryTake(out ready, Timeout.Infinite);
        Waited += Stopwatch.GetElapsedTime(start);
        if (found)
            return ready!;
        _failure?.Throw();
        throw new InvalidOperationException("there are no more steps");
    }

    private void Prepare(ITokenRows rows, StepPlan plan, ITrainingMethod method, int maxTokens, int firstStep, int endStep, Workers workers)
    {
        try
        {
            for (var step = firstStep; step < endStep && !_stop.IsCancellationRequested; step++)
                _ready.Add(Lay(rows, workers.Share(plan[step], rows.Length), method, maxTokens, workers.Context), _stop.Token);
        }
        catch (OperationCanceledException)
        {
            // the run ended before its rows did
        }
        catch (Exception failure)
        {
            _failure = ExceptionDispatchInfo.Capture(failure);
        }
        finally
        {
            _ready.CompleteAdding();
        }
    }

    /// <param name="context">Who computes a part of every bin's tokens each; null for this process alone.</param>
    internal static StepWork Lay(ITokenRows rows, StepRows step, ITrainingMethod method, int maxTokens, ContextGroup? context = null)
    {
        var parts = method.GroupsByMicroBatch ? step.MicroBatches : [[.. step.MicroBatches.SelectMany(m => m)]];
        return new(step, [.. parts.Select(part => Group(rows, part, method, maxTokens, 1.0 / parts.Count, context))]);
    }

    /// <summary>Rows as one group, in bins.</summary>
    /// <param name="share">Its share of the step's loss.</param>
    /// <param name="context">Who computes a part of every bin's tokens each; null for this process alone.</param>
    public static LossGroup Group(ITokenRows rows, int[] numbers, ITrainingMethod method, int maxTokens, double share = 1,
        ContextGroup? context = null)
    {
        (int Number, TokenRow Row)[] read = [.. numbers.Select(number => (number, rows.Read(number)))];
        return new(read, Bins(rows, numbers, maxTokens, context), method.Totals([.. read.Select(r => r.Row)]), share);
    }

    /// <summary>Rows in bins of at most <paramref name="maxTokens"/> tokens; inside a bin they keep their order.</summary>
    /// <param name="context">Who computes a part of every bin's tokens each; null for this process alone.</param>
    public static IReadOnlyList<Bin> Bins(ITokenRows rows, int[] indices, int maxTokens, ContextGroup? context = null)
    {
        var lengths = Array.ConvertAll(indices, rows.Length);
        var bins = Packing.Bins(lengths, maxTokens);
        var result = new List<Bin>(bins.Count);
        foreach (var bin in bins)
        {
            var batch = BatchBuilder.Build(rows, [.. bin.Order().Select(i => indices[i])]);
            result.Add(new(batch, batch.Stream(context)));
        }
        return result;
    }

    public void Dispose()
    {
        _stop.Cancel();
        _work.Wait();
        _ready.Dispose();
        _stop.Dispose();
    }
}
