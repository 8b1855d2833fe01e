using System.CommandLine;
using System.Globalization;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Hub;

namespace Handbook.Cli;

/// <summary><c>handbook cache</c>, <c>handbook cache delete REPO</c>, <c>handbook cache verify [REPO]</c></summary>
internal static class CacheCommand
{
    private static readonly Argument<string> s_name = new("repository") { Description = "owner/name", HelpName = "REPOSITORY" };
    private static readonly Argument<string?> s_any = new("repository")
    { Description = "owner/name; without it everything", Arity = ArgumentArity.ZeroOrOne, HelpName = "REPOSITORY" };
    private static readonly Option<string?> s_kind = new("--repo-type")
    { Description = "what the repository holds, where the name alone does not tell", HelpName = "model|dataset" };
    private static readonly Option<string?> s_revision =
        HubWords.Revision("remove one commit alone, with the contents that no other one has");

    public static Command Create()
    {
        s_kind.AcceptOnly("model", "dataset");
        var command = new Command("cache", "Show what was downloaded from the hub, with its size and its last use\n\n"
            + "It is the folder that the Python libraries share: HF_HUB_CACHE, else hub in HF_HOME, else ~/.cache/huggingface/hub.\n\n"
            + "Examples:\n"
            + "  handbook cache\n"
            + "  handbook cache verify                              compare every content with its hash\n"
            + "  handbook cache delete HuggingFaceTB/SmolLM2-135M\n"
            + "  handbook cache delete org/model --revision v1.0");
        var delete = new Command("delete", "Remove a model or a data set from the cache; it can be downloaded again")
        {
            s_name, s_kind, s_revision,
        };
        delete.SetAction(Delete);
        var verify = new Command("verify",
            "Compare what is in the cache with its hashes: damaged files are named, and nothing is changed") { s_any, s_kind };
        verify.SetAction(Verify);
        command.Add(delete);
        command.Add(verify);
        command.SetAction(_ => List());
        return command;
    }

    private static int List()
    {
        var all = CachedRepository.All();
        if (all.Count == 0)
        {
            Console.WriteLine($"there is nothing in {HubCache.Root}");
            return ExitCode.Ok;
        }
        string[][] table = [["repository", "type", "size", "last used", "revisions"], .. all.Select(repository => (string[])
        [
            repository.Id, Type(repository.Kind), Size.Of(repository.Bytes),
            repository.LastUsed.ToLocalTime().ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture), Revisions(repository),
        ])];
        foreach (var line in TextTable.Lines(table, right: [2]))
            Console.WriteLine(line);
        Console.WriteLine($"{all.Count} in {HubCache.Root}, {Size.Of(all.Sum(repository => repository.Bytes))}");
        return ExitCode.Ok;
    }

    private static string Type(HubKind kind) => kind == HubKind.Model ? "model" : "dataset";

    private static string Revisions(CachedRepository repository) => string.Join(", ", repository.Commits().Select(entry =>
        entry.Names.Count > 0 ? $"{string.Join(" ", entry.Names)} ({entry.Commit[..Math.Min(8, entry.Commit.Length)]})"
            : entry.Commit[..Math.Min(8, entry.Commit.Length)]))
        + (repository.UnfinishedFiles is > 0 and var count ? $"; {HubWords.Files(count)} half downloaded" : "");

    private static int Delete(ParseResult args)
    {
        var repository = CachedRepository.Find(args.GetRequiredValue(s_name), Kind(args));
        var bytes = args.GetValue(s_revision) is { } revision ? repository.Delete(revision) : repository.Delete();
        Console.WriteLine($"{repository.Id}: {Size.Of(bytes)} removed");
        return ExitCode.Ok;
    }

    private static async Task<int> Verify(ParseResult args, CancellationToken cancel)
    {
        var all = args.GetValue(s_any) is { } name ? [CachedRepository.Find(name, Kind(args))] : CachedRepository.All();
        var damaged = 0;
        foreach (var repository in all)
            foreach (var (files, difference) in await repository.Damaged(cancel))
            {
                damaged++;
                Console.Error.WriteLine($"{repository.Id}: {files}: {difference}\n"
                    + $"  fix: handbook cache delete {repository.Id}, and download it again");
            }
        Console.WriteLine(damaged == 0 ? $"{(all.Count == 1 ? all[0].Id : $"{all.Count} repositories")}: every content has its hash"
            : $"{damaged} damaged");
        return damaged == 0 ? ExitCode.Ok : ExitCode.UserCanFix;
    }

    private static HubKind? Kind(ParseResult args) => args.GetValue(s_kind) is { } word ? HubWords.KindOf(word) : null;
}
