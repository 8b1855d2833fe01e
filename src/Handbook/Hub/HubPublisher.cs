using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;
using Handbook.Recipes;
using Handbook.Training.Plans;
using Handbook.Training.Progress;

namespace Handbook.Hub;

/// <summary>Publishes a run on the hub while it trains, on a thread of its own: training neither waits for it nor ends with it. What could
/// not be published is told, with the command that does it later.</summary>
internal sealed class HubPublisher : IRunObserver, IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    private readonly HubOptions _options;
    private readonly string _output;
    private readonly IWorkObserver _observer;
    private readonly HubClient? _client;
    private readonly CancellationTokenSource _stop = new();
    private readonly Queue<HubPush> _waiting = [];
    private readonly Lock _lock = new();
    private readonly SemaphoreSlim _some = new(0);
    private readonly Task _worker;
    private HubRepository? _repository;
    private string? _failure;
    private bool _closed;
    private volatile bool _isBusy;

    private HubPublisher(HubOptions options, string output, IWorkObserver observer, HubClient? client)
    {
        (_options, _output, _observer, _client) = (options, output, observer, client);
        _worker = client is null ? Task.CompletedTask : Task.Run(() => Work(client));
    }

    /// <summary>What the recipe asks for; null where it asks for nothing.</summary>
    /// <param name="observer">Hears what is published, and now already what stands in its way.</param>
    /// <param name="settings">Where the hub is; null takes what the environment and the recipe say.</param>
    public static HubPublisher? Begin(Recipe recipe, IWorkObserver observer, HubSettings? settings = null)
    {
        var options = recipe.Hub;
        if (!options.PushToHub)
            return null;
        var output = recipe.Training.OutputDir;
        settings ??= HubSettings.Of(recipe);
        if (settings.IsOffline)
            return Later("HF_HUB_OFFLINE keeps to this machine", "unset it");
        if (settings.Token is null)
            return Later("there is no token", "`handbook login` with one that may write");
        var client = new HubClient(settings);
        try
        {
            using var quick = new HubClient(settings with { Attempts = 1, AnswerTime = TimeSpan.FromSeconds(10) });
            var identity = quick.WhoAmI(CancellationToken.None).GetAwaiter().GetResult();
            if (identity.Role == "read")
                throw new InputException($"{settings.Token} is for reading alone", fix: "`handbook login` with one that may write");
            var publisher = new HubPublisher(options, output, observer, client);
            publisher.Name(identity);
            observer.Said($"push_to_hub: the model goes to {publisher._repository} as {identity.Name}, {When(options.HubStrategy)}");
            return publisher;
        }
        catch (HubException problem) when (problem.MayPass)
        {
            observer.Warned($"push_to_hub: {problem.What}; the run goes on, and it is tried again with everything that is to be published");
            return new(options, output, observer, client);
        }
        catch (InputException problem)
        {
            client.Dispose();
            return Later(problem.What, problem.Fix ?? "correct it");
        }

        HubPublisher Later(string why, string cure)
        {
            var publisher = new HubPublisher(options, output, observer, client: null);
            observer.Warned($"push_to_hub: {why}, so nothing is published during this run, which goes on\n"
                + $"  fix: {cure}; when the run is over: {publisher.Command}");
            return publisher;
        }
    }

    /// <summary>What publishes the run later.</summary>
    public string Command => $"handbook upload {_output} {_repository?.Id ?? _options.Repository(_output)}"
        + (_options.HubModelRevision is { } branch ? $" --revision {branch}" : "") + (_options.HubPrivateRepo == true ? " --private" : "");

    /// <summary>A checkpoint is on disk: its files are opened, so that they can be sent when it is long removed.</summary>
    public void Saved(string checkpoint)
    {
        if (_client is null || _options.HubStrategy == HubStrategy.End)
            return;
        try
        {
            var push = HubPush.OfCheckpoint(checkpoint, _options.HubStrategy);
            lock (_lock)
            {
                if (!_options.HubAlwaysPush)
                    while (_waiting.TryDequeue(out var overtaken))
                        overtaken.Dispose();
                _waiting.Enqueue(push);
            }
            _some.Release();
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException or InputException)
        {
            _observer.Warned($"push_to_hub: {Path.GetFileName(checkpoint)} is not published: {problem.Message}");
        }
    }

    /// <summary>The run is at its end: publishes its folder, and waits until that is done.</summary>
    /// <param name="cancel">Gives up; what was not published is told.</param>
    public void End(CancellationToken cancel)
    {
        if (_client is null)
        {
            _observer.Said($"push_to_hub: nothing was published; this does it: {Command}");
            return;
        }
        using var gone = cancel.Register(_stop.Cancel);
        try
        {
            lock (_lock)
                _waiting.Enqueue(HubPush.OfRun(_output));
            _some.Release();
            Close();
            _worker.GetAwaiter().GetResult();
            if (_failure is null && !_stop.IsCancellationRequested)
                _observer.Said($"published at {new Uri(_client.Settings.Endpoint, _repository!.Page)}"
                    + (_options.HubModelRevision is { } branch ? $", branch {branch}" : ""));
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException or InputException
            or OperationCanceledException)
        {
            _failure = problem.Message;
        }
        if (_failure is not null || _stop.IsCancellationRequested)
            _observer.Warned($"push_to_hub: not everything was published{(_failure is null ? "" : $": {_failure}")}\n  fix: {Command}");
    }

    private async Task Work(HubClient client)
    {
        while (true)
        {
            HubPush? push;
            try
            {
                await _some.WaitAsync(_stop.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            lock (_lock)
                if (!_waiting.TryDequeue(out push))
                {
                    if (_closed)
                        return;
                    continue;       // overtaken
                }
            _isBusy = true;
            using (push)
                await Publish(client, push).ConfigureAwait(false);
            _isBusy = false;
        }
    }

    private async Task Publish(HubClient client, HubPush push)
    {
        try
        {
            var target = await Target(client).ConfigureAwait(false);
            // What is on its way during training does not draw over its line.
            var upload = new HubUpload(client, push.IsLast ? _observer : RunObservers.None);
            await upload.Run(target, push.Files, push.Summary, push.Deletes, _stop.Token).ConfigureAwait(false);
            _failure = null;
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // told by whoever stopped it
        }
        catch (Exception problem)
        {
            // Nothing that happens to an upload may end a run.
            _failure = problem is InputException input ? input.What : problem.Message;
            if (!push.IsLast)
                _observer.Warned($"push_to_hub: \"{push.Summary}\" was not published: {_failure}; the next save tries again");
        }
    }

    /// <summary>The repository, made where it is missing, with its branch.</summary>
    private async Task<HubRepository> Target(HubClient client)
    {
        if (_repository is null)
            Name(await client.WhoAmI(_stop.Token).ConfigureAwait(false));
        var (writer, repository) = (new HubWriter(client), _repository!);
        await writer.Create(repository, _options.HubPrivateRepo, _stop.Token).ConfigureAwait(false);
        if (repository.Revision != HubCache.Main)
            await writer.Branch(repository, _stop.Token).ConfigureAwait(false);
        return repository;
    }

    private void Name(HubIdentity identity)
    {
        var name = _options.Repository(_output);
        _repository = HubRepository.Parse(HubKind.Model, name.Contains('/') ? name : $"{identity.Name}/{name}", _options.HubModelRevision);
    }

    private static string When(HubStrategy strategy) => strategy switch
    {
        HubStrategy.End => "at the end",
        HubStrategy.Checkpoint => "at every save, with the newest checkpoint",
        HubStrategy.AllCheckpoints => "at every save, with all checkpoints",
        _ => "at every save",
    };

    private void Close()
    {
        lock (_lock)
            _closed = true;
        _some.Release();
    }

    /// <summary>Gives up what is still on its way.</summary>
    public void Dispose()
    {
        bool isLost;
        lock (_lock)
            isLost = _client is not null && !_worker.IsCompleted && (_isBusy || _waiting.Count > 0);
        _stop.Cancel();
        _worker.Wait(s_patience);
        if (isLost)
            _observer.Said($"push_to_hub: an upload was given up; later: {Command}");
        while (_waiting.TryDequeue(out var left))
            left.Dispose();
        _client?.Dispose();
        _stop.Dispose();
        _some.Dispose();
    }
}
