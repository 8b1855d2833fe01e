using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Hub;

/// <summary>What a repository of the hub holds.</summary>
internal enum HubKind
{
    /// <summary>A model, or an adapter.</summary>
    Model,

    /// <summary>A data set.</summary>
    Dataset,
}

/// <summary>A repository of the hub at a revision.</summary>
/// <param name="Kind">What it holds.</param>
/// <param name="Id"><c>owner/name</c>, or <c>name</c> alone for the oldest ones.</param>
/// <param name="Revision">A branch, a tag, a commit, or <c>refs/pr/N</c>.</param>
internal sealed record HubRepository(HubKind Kind, string Id, string Revision = HubCache.Main)
{
    /// <summary>Reads a name as recipes and commands have it: <c>owner/name</c>, with <c>@revision</c> behind it for another than the main
    /// one.</summary>
    /// <exception cref="InputException">It can be no name of a repository.</exception>
    public static HubRepository Parse(HubKind kind, string name, string? revision = null)
    {
        var (id, behind) = HubCache.Split(name);
        if (revision is not null && behind is not null && revision != behind)
            throw new InputException($"{name} names the revision {behind}, and another one is asked for, {revision}",
                fix: "name one of the two");
        var wanted = revision ?? behind ?? HubCache.Main;
        if (!HubCache.IsRepository(id))
            throw new InputException($"\"{name}\" is no name of a repository",
                "it is owner/name, of letters, digits, dots, dashes and underscores",
                HubCache.NameIn(name) is { } meant ? $"write the name alone: {meant}" : "for example HuggingFaceTB/SmolLM2-135M");
        if (!HubCache.IsRevision(wanted))
            throw new InputException($"\"{wanted}\" is no revision", "it is a branch, a tag, a commit, or refs/pr/N", "for example main");
        return new(kind, id, wanted);
    }

    /// <summary>The folder below the cache: <c>models--owner--name</c>.</summary>
    public string Folder => HubCache.FolderOf(Plural, Id)!;

    /// <summary>The word for its kind in addresses and in the cache.</summary>
    public string Plural => Kind == HubKind.Model ? "models" : "datasets";

    /// <summary>The word for its kind in what is sent.</summary>
    public string Type => Kind == HubKind.Model ? "model" : "dataset";

    /// <summary>The address of what the hub tells about it, below the hub's own.</summary>
    public string Api => $"api/{Plural}/{Id}";

    /// <summary>The address of its pages and files, below the hub's own.</summary>
    public string Page => Kind == HubKind.Model ? Id : $"datasets/{Id}";

    /// <summary>The revision as a part of an address: <c>refs/pr/1</c> is one part.</summary>
    public string EscapedRevision => Uri.EscapeDataString(Revision);

    /// <summary>Whether the revision is a commit, which never changes.</summary>
    public bool IsPinned => HubCache.IsCommit(Revision);

    /// <summary>As users write it.</summary>
    public override string ToString() => Revision == HubCache.Main ? Id : $"{Id}@{Revision}";
}
