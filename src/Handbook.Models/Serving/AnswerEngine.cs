using System.Diagnostics;
using Handbook.Base;
using Handbook.Models.Generation;

namespace Handbook.Models.Serving;

/// <summary>Answers many clients with one thread: requests join and leave between two tokens, and what they begin with in common is
/// computed once.</summary>
/// <remarks>
/// Every answer has the bits that it would have alone: the products of a row do not depend on the rows beside it, nor on how its prompt was
/// cut or where its beginning came from. Networks over the same weights that differ by their adapters are computed in one pass where
/// <see cref="Decoder.Joint"/> says so. Requests are begun in the order in which they came. A request is begun when the keys and values
/// that it can need at most fit into the memory beside those of the running ones, so that a running answer never has to give way.
/// </remarks>
internal sealed class AnswerEngine : IDisposable
{
    private readonly EngineOptions _options;
    private readonly Thread _thread;
    private readonly object _gate = new();
    private readonly Queue<EngineRequest> _arrived = new();
    private readonly Queue<Action> _work = new();
    private readonly CacheMemory _memory = new();
    private readonly KeptPrefixes _kept = new();

    // The thread's own.
    private readonly LinkedList<EngineRequest> _waiting = [];
    private readonly Dictionary<Decoder, RunningBatch> _batches = [];       // by what computes them: a network, or several jointly
    private readonly Dictionary<SampleRow, EngineRequest> _running = [];
    private int _waits;                     // in _arrived or _waiting; below the gate
    private double _seconds = 1;            // that a request takes once it is begun, of late; below the gate
    private bool _isStopping;

    public AnswerEngine(EngineOptions options)
    {
        _options = options;
        _thread = new Thread(Loop) { IsBackground = true, Name = "answers" };
        _thread.Start();
    }

    /// <summary>What it has done, and does now.</summary>
    public EngineStatistics Statistics { get; } = new();

    /// <summary>Takes a request; what comes of it is told to the request.</summary>
    /// <exception cref="InputException">It can never be answered: an empty prompt, one that is too long, tokens that are not there, or more
    /// memory than there is.</exception>
    /// <exception cref="EngineBusyException">Too many wait.</exception>
    /// <exception cref="EngineStoppedException">It is shutting down.</exception>
    public void Submit(EngineRequest request)
    {
        request.Sampling.Validate();
        Check(request);
        lock (_gate)
        {
            if (_isStopping)
                throw new EngineStoppedException();
            if (_waits >= _options.MaxWaiting)
            {
                Statistics.Refuse();
                throw new EngineBusyException(TimeSpan.FromSeconds(Math.Clamp(_seconds * _waits / _options.MaxRows, 1, 60)));
            }
            _waits++;
            _arrived.Enqueue(request);
            Statistics.Take();
            Monitor.Pulse(_gate);
        }
    }

    /// <summary>Does something else with a network on the thread, between two tokens.</summary>
    public Task<T> Run<T>(Func<T> work)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_gate)
        {
            if (_isStopping)
                throw new EngineStoppedException();
            _work.Enqueue(() =>
            {
                try
                {
                    done.SetResult(work());
                }
                catch (Exception failure)       // it is the asker's
                {
                    done.SetException(failure);
                }
            });
            Monitor.Pulse(_gate);
        }
        return done.Task;
    }

    /// <summary>Lets go of all that belongs to a network, which is freed next; answers that it still makes end.</summary>
    public void Forget(Decoder model)
    {
        try
        {
            Run(() =>
            {
                if (_batches.Remove(Computing(model), out var batch))
                    Abandon(batch, new OperationCanceledException());
                _kept.Drop(model);
                return true;
            }).GetAwaiter().GetResult();
        }
        catch (EngineStoppedException)
        {
            // It has let go of everything.
        }
    }

    /// <summary>Bytes that a request needs at most while its first answer is made, and for each further one at the same time.</summary>
    internal static (long First, long More) Need(EngineRequest request)
    {
        var (config, prompt) = (request.Model.Config, request.Tokens.Length);
        var room = config.AnswerRoom(prompt, request.Sampling.MaxNewTokens);
        var token = KeyValueCache.BytesPerToken(config, request.Model.Compute);
        var answer = KeyValueCache.Capacity(Math.Min(room, SampleRow.FirstRoom), room) * token;
        return (Math.Max(prompt, 16) * token + answer, answer);
    }

    private void Check(EngineRequest request)
    {
        var config = request.Model.Config;
        if (request.Tokens.Length == 0)
            throw new InputException("the prompt has no token", fix: "write a prompt");
        if (request.Tokens.Length > config.GreatestLength)
            throw new InputException($"the prompt has {request.Tokens.Length} tokens, but the model has {config.GreatestLength} learned "
                + "positions", fix: "shorten the prompt");
        if (Array.Find(request.Tokens, token => (uint)token >= (uint)config.VocabularySize) is var strange and not 0)
            throw new InputException($"the prompt has the token id {strange}, but the model's vocabulary has {config.VocabularySize} "
                + "entries", fix: "use the model's own tokenizer");
        if (Need(request).First is var need && need > _options.CacheBytes)
            throw new InputException($"the prompt of {request.Tokens.Length} tokens and an answer of {request.Sampling.MaxNewTokens} need "
                + $"{Size.Of(need)} of keys and values, but there are {Size.Of(_options.CacheBytes)}",
                fix: "ask for fewer tokens, or give the server more memory");
    }

    private void Loop()
    {
        while (true)
        {
            Action? work;
            lock (_gate)
            {
                while (_arrived.Count == 0 && _work.Count == 0 && _waiting.Count == 0 && _running.Count == 0 && !_isStopping)
                    Monitor.Wait(_gate);
                if (_isStopping)
                    break;
                while (_arrived.TryDequeue(out var request))
                    _waiting.AddLast(request);
                _work.TryDequeue(out work);
            }
            work?.Invoke();
            LetGo();
            while (_running.Count < _options.MaxRows && _waiting.First is { } next && TryBegin(next.Value))
            {
            }
            foreach (var batch in _batches.Values)
                if (batch.Count > 0)
                    Step(batch);
            Statistics.Now(_running.Count, _waiting.Count, _kept.Count, _memory.Bytes);
        }
        End();
    }

    /// <summary>Ends what nobody wants any more.</summary>
    private void LetGo()
    {
        for (var node = _waiting.First; node is not null;)
        {
            var (next, request) = (node.Next, node.Value);
            if (!request.IsWanted)
                Drop(request);
            node = next;
        }
        foreach (var (row, request) in _running)
            if (!request.IsWanted)
                row.Stop();
        foreach (var batch in _batches.Values)
            Leave(batch);
    }

    /// <summary>Begins no more of a request's answers; where none is running it is over.</summary>
    private void Drop(EngineRequest request)
    {
        Forget(request);
        request.Curtail();
        if (request.Over == request.Count)
            request.End(new OperationCanceledException(request.Cancel));
    }

    /// <summary>Begins one more answer of a request, unless it has to wait for memory or for a prompt that is being read.</summary>
    private bool TryBegin(EngineRequest request)
    {
        if (request.Prompt is null && !TryRead(request))
            return false;
        if (request.Begun > 0 && !HasRoom(Need(request).More))
            return false;
        var (batch, sample) = (Batch(request.Model), request.Begun++);
        var row = new SampleRow(request.Prompt!, sample, request.Sampling,
            request.Model.Config.AnswerRoom(request.Tokens.Length, request.Sampling.MaxNewTokens), drawn =>
            {
                Statistics.Said();
                return request.OnToken(sample, drawn);
            }, request.Constraint?.Invoke());
        batch.Add(row);
        _running.Add(row, request);
        if (request.Begun == request.Count)
            Forget(request);
        return true;
    }

    private bool TryRead(EngineRequest request)
    {
        var known = _kept.Find(request.Model, request.Tokens);
        foreach (var (row, other) in _running)
            if (other.Model == request.Model && other.Prompt is { IsRead: false } reading
                && request.Tokens.AsSpan(0, request.Tokens.Length - 1).CommonPrefixLength(other.Tokens) is var common
                && common >= (known?.Common ?? 0) + KeptPrefixes.WorthSharing)
            {
                if (reading.Cache.Length < common)
                    return false;           // it is being read for another request
                known = (reading.Cache, common);
            }
            else if (other.Model == request.Model && other.Prompt is { IsRead: true } read
                && request.Tokens.AsSpan(0, request.Tokens.Length - 1).CommonPrefixLength(other.Tokens) is var same
                && same >= Math.Max(known?.Common + 1 ?? 0, KeptPrefixes.WorthSharing))
                known = (read.Cache, same);
        using var held = known?.Cache.Hold();      // what is forgotten to make room may be this
        if (!HasRoom(Need(request).First))
            return false;
        var start = known?.Common ?? 0;
        request.Prompt = new PromptCache(0, new SampleRequest(request.Tokens, [.. Enumerable.Range(0, request.Count).Select(i => (long)i)]),
            new KeyValueCache(request.Model.Config, request.Model.Compute, request.Tokens.Length - start, held, start, _memory,
                request.Model.Device))
        {
            Group = request.Model.Joint?.Group ?? 0,
        };
        request.BegunAt = Stopwatch.GetTimestamp();
        Statistics.Begin(request.Tokens.Length, start);
        return true;
    }

    /// <summary>Makes room, by forgetting earlier texts if need be.</summary>
    private bool HasRoom(long bytes)
    {
        var promised = bytes;
        foreach (var (row, request) in _running)
            promised += Math.Max(0, Need(request).More - (row.Cache?.Bytes ?? 0));
        while (_memory.Bytes + promised > _options.CacheBytes)
            if (!_kept.DropOldest())
                return _running.Count == 0;
        return true;
    }

    private static Decoder Computing(Decoder model) => model.Joint?.Network ?? model;

    private RunningBatch Batch(Decoder model) => _batches.TryGetValue(Computing(model), out var batch) ? batch
        : _batches[Computing(model)] = new RunningBatch(Computing(model), new IncrementalForward(Computing(model)), _options.TokensAtOnce)
        {
            ReadsApart = true,
            IsJoint = model.Joint is not null,
        };

    private void Step(RunningBatch batch)
    {
        try
        {
            batch.Step();
            Statistics.Step();
        }
        catch (Exception failure)       // the other networks' clients, and the next ones, are still answered
        {
            Abandon(batch, failure);
            return;
        }
        Leave(batch);
    }

    /// <summary>Ends all answers of a batch.</summary>
    private void Abandon(RunningBatch batch, Exception why)
    {
        foreach (var row in batch.Rows)
        {
            _running.Remove(row, out var request);
            request!.End(why);
            request.Over++;
            Drop(request);
        }
        batch.Dispose();
    }

    private void Leave(RunningBatch batch) => batch.Leave(row =>
    {
        _running.Remove(row, out var request);
        request!.Over++;
        if (row.Failure is { } failure)
            request.End(failure);
        else if (row.Cache is { } cache)
            _kept.Keep(request.Model, [.. request.Tokens, .. row.Tokens.Take(cache.OwnLength)], cache);
        else if (row.Prompt.IsRead)
            _kept.Keep(request.Model, request.Tokens, row.Prompt.Cache);
        if (request.IsWanted)
            request.OnAnswer(row.Sample, row.Answer!);
        if (request.Over < request.Count)
            return;
        lock (_gate)
            _seconds = 0.8 * _seconds + 0.2 * Stopwatch.GetElapsedTime(request.BegunAt).TotalSeconds;
        request.End(request.Cancel.IsCancellationRequested ? new OperationCanceledException(request.Cancel) : null);
    });

    /// <summary>A request waits no more.</summary>
    private void Forget(EngineRequest request)
    {
        if (!_waiting.Remove(request))
            return;
        lock (_gate)
            _waits--;
    }

    private void End()
    {
        foreach (var request in _running.Values.Concat(_waiting).ToArray())
            request.End(new EngineStoppedException());
        lock (_gate)
            while (_arrived.TryDequeue(out var request))
                request.End(new EngineStoppedException());
        while (_work.TryDequeue(out var work))
            work();
        foreach (var batch in _batches.Values)
            batch.Dispose();
        _kept.Dispose();
    }

    /// <summary>Ends all requests with an <see cref="EngineStoppedException"/>, and the thread.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _isStopping = true;
            Monitor.Pulse(_gate);
        }
        _thread.Join();
    }
}
