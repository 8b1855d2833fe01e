using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;
using Handbook.Data.Sources;
using Handbook.Models.Adapters;
using Handbook.Recipes;

namespace Handbook.Hub;

/// <summary>Files of the hub that are wanted and not in the cache.</summary>
/// <param name="Need">What needs them.</param>
/// <param name="Snapshot">The commit that they are of.</param>
/// <param name="Files">The files.</param>
internal sealed record HubWant(HubNeed Need, HubSnapshot Snapshot, IReadOnlyList<HubFile> Files)
{
    /// <summary>How much that is.</summary>
    public long Bytes => Files.Sum(file => file.Size);

    public override string ToString() => $"{Need.Title}: {Files.Count} file{(Files.Count == 1 ? "" : "s")}, {Size.Of(Bytes)}, from commit "
        + $"{Snapshot.Commit[..8]} of {Snapshot.Repository.Id} into {HubCache.Root}";
}

/// <summary>Brings into the hub's cache what is named and lies nowhere else, before anybody looks for it: the files that are needed, and no
/// others. What is there already is not asked for again.</summary>
/// <param name="observer">Hears how far it is.</param>
/// <param name="settings">Where the hub is; null takes what the environment says.</param>
internal sealed class HubFetch(IWorkObserver observer, HubSettings? settings = null) : IDisposable
{
    private const long MostOfDescription = 16 << 20;

    private readonly HubSettings _settings = settings ?? HubSettings.FromEnvironment();
    private HubClient? _client;

    /// <summary>Everything that a recipe names.</summary>
    /// <exception cref="InputException">Something is nowhere.</exception>
    public static void For(Recipe recipe, IWorkObserver observer, CancellationToken cancel, HubSettings? settings = null)
    {
        using var fetch = new HubFetch(observer, settings ?? HubSettings.Of(recipe));
        foreach (var need in HubNeed.Of(recipe))
            fetch.Bring(need, cancel);
    }

    /// <summary>A model that a command names.</summary>
    /// <exception cref="InputException">It is nowhere.</exception>
    public static void Model(string name, string? key, ModelParts parts, IWorkObserver observer, CancellationToken cancel)
    {
        using var fetch = new HubFetch(observer);
        if (HubNeed.Model(name, key, parts) is { } need)
            fetch.Bring(need, cancel);
    }

    /// <summary>Brings what is needed; nothing where it is there, or nothing may be asked for.</summary>
    public void Bring(HubNeed need, CancellationToken cancel)
    {
        foreach (var want in Wants(need, cancel))
            want.Snapshot.Fetch(want.Files, observer, cancel).GetAwaiter().GetResult();
    }

    /// <summary>What would have to be downloaded; of it, what describes the rest is.</summary>
    /// <returns>One entry for each repository; an adapter needs the model that it lies on, too.</returns>
    /// <exception cref="InputException">It is nowhere.</exception>
    public IReadOnlyList<HubWant> Wants(HubNeed need, CancellationToken cancel)
    {
        if (_settings.IsOffline)
            return [];
        try
        {
            return Asked(need, cancel).GetAwaiter().GetResult();
        }
        catch (HubException problem) when ((problem.MayPass || need is DatasetNeed)
            && HubCache.Find(need is ModelNeed ? "models" : "datasets", need.Name) is { } there)
        {
            observer.Noted($"{need.Title}: taken from {there} as it is there; {problem.What}");
            return [];
        }
        catch (HubException problem)
        {
            throw InputException.Absent($"{need.Title} is not on this machine", need.Places, problem.Why, problem.Fix,
                $"  and on the hub: {problem.What}", problem);
        }
    }

    /// <summary>Asks for the head of one of the files: the list of a gated repository is open to everybody, its files are not.</summary>
    /// <exception cref="InputException">They may not be read.</exception>
    public void RequireAccess(HubWant want, CancellationToken cancel)
    {
        if (want.Files.Count > 0)
            _ = Client.Look(want.Snapshot.Repository with { Revision = want.Snapshot.Commit }, want.Files[0].Path,
                cancel).GetAwaiter().GetResult();
    }

    private async Task<IReadOnlyList<HubWant>> Asked(HubNeed need, CancellationToken cancel) => need switch
    {
        ModelNeed model => await Asked(model, cancel).ConfigureAwait(false),
        DatasetNeed set => await Asked(set, cancel).ConfigureAwait(false) is { Files.Count: > 0 } want ? [want] : [],
        _ => throw new ArgumentException($"nobody knows how to fetch {need.Title}", nameof(need)),
    };

    private async Task<IReadOnlyList<HubWant>> Asked(ModelNeed need, CancellationToken cancel)
    {
        var wants = new List<HubWant>();
        ModelNeed? next = need;
        for (var depth = 0; next is { } model && depth < HubNeed.MostAdapters; depth++)
        {
            next = null;
            var repository = HubRepository.Parse(HubKind.Model, model.Name);
            if (HubCache.CommitOf(repository.Folder, repository.Revision) is null || HubCache.Find("models", model.Name) is not { } folder
                || !ModelFiles.IsComplete(folder, model.Parts))
            {
                var snapshot = await Snapshot(repository, cancel).ConfigureAwait(false);
                var files = ModelFiles.Choose(await snapshot.Files(cancel).ConfigureAwait(false), model.Parts);
                if (files.FirstOrDefault(file => file.Path == AdapterConfigFile.Name) is { } config)
                    await snapshot.Fetch([config], observer, cancel).ConfigureAwait(false);
                HubFile[] absent = [.. files.Where(file => !snapshot.Has(file))];
                if (absent.Length > 0)
                    wants.Add(new(model, snapshot, absent));
                else
                    snapshot.Remember();        // another revision is the same commit
                folder = snapshot.Folder;
            }
            // An adapter is nothing without the model that it lies on; its tokenizer may be that one's, too.
            next = HubNeed.Below(folder, model.Name, model.Parts);
        }
        return wants;
    }

    private async Task<HubWant?> Asked(DatasetNeed need, CancellationToken cancel)
    {
        var repository = HubRepository.Parse(HubKind.Dataset, need.Name);
        if (HubCache.CommitOf(repository.Folder, repository.Revision) is null && repository.Revision == HubCache.Main
            && HubCache.CommitOf(repository.Folder, DatasetPath.ConvertedRevision) is not null)
            repository = repository with { Revision = DatasetPath.ConvertedRevision };
        var snapshot = await Snapshot(repository, cancel).ConfigureAwait(false);
        var files = await snapshot.Files(cancel).ConfigureAwait(false);
        if (await Chosen(need, snapshot, files, cancel).ConfigureAwait(false) is { } chosen)
            return new(need, snapshot, chosen);
        if (repository.Revision != HubCache.Main || !files.Any(file => file.Path.EndsWith(".py", StringComparison.Ordinal)))
            throw new InputException($"{need.Name}: the hub has no data files of it at {repository.Revision}",
                fix: "name another revision behind it, as in owner/name@revision, or another data set");
        try
        {
            snapshot = await Snapshot(repository with { Revision = DatasetPath.ConvertedRevision }, cancel).ConfigureAwait(false);
        }
        catch (HubException absent) when (absent.Problem == HubProblem.NoRevision)
        {
            throw new InputException($"{need.Name} is a program that makes its rows, and the hub has not converted it",
                "programs of data sets are never run",
                "run it where you trust it, save its rows as Parquet or JSON lines, and name that folder", absent);
        }
        return new(need, snapshot, await Chosen(need, snapshot, await snapshot.Files(cancel).ConfigureAwait(false),
            cancel).ConfigureAwait(false) ?? []);
    }

    /// <summary>The files of the splits that are asked for, and not there; null where the repository has no data files.</summary>
    private async Task<IReadOnlyList<HubFile>?> Chosen(DatasetNeed need, HubSnapshot snapshot, IReadOnlyList<HubFile> files,
        CancellationToken cancel)
    {
        var describing = files.Where(file => DatasetFolder.IsDescription(file.Path) && file.Size <= MostOfDescription).ToArray();
        await snapshot.Fetch(describing, observer, cancel).ConfigureAwait(false);
        var (byPath, names) = (files.ToDictionary(file => file.Path), files.Select(file => file.Path).ToArray());
        var chosen = new List<HubFile>();
        foreach (var spec in need.Specs)
            if (Dataset.FilesOf(spec, snapshot.Folder, names) is not { } paths)
                return null;
            else
                chosen.AddRange(paths.Select(path => byPath[path]));
        return [.. chosen.Distinct().Where(file => !snapshot.Has(file))];
    }

    /// <summary>The commit that was downloaded from before, so that one run's files are of one commit; else the one that the revision is
    /// now.</summary>
    private async Task<HubSnapshot> Snapshot(HubRepository repository, CancellationToken cancel) =>
        HubCache.CommitOf(repository.Folder, repository.Revision) is { } known && HubCache.IsCommit(known) ? new(Client, repository, known)
            : await HubSnapshot.Open(Client, repository, cancel).ConfigureAwait(false);

    private HubClient Client => _client ??= new(_settings);

    public void Dispose() => _client?.Dispose();
}
