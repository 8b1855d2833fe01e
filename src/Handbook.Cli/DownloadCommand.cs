using System.CommandLine;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Hub;

namespace Handbook.Cli;

/// <summary><c>handbook download REPO [FILE]… [--repo-type dataset] [--revision R] [--include P] [--exclude P] [--local-dir
/// DIR]</c></summary>
internal static class DownloadCommand
{
    private static readonly Argument<string> s_name = new("repository")
    {
        Description = "owner/name, perhaps with @revision behind it",
        HelpName = "REPOSITORY"
    };
    private static readonly Argument<string[]> s_files = new("file")
    { Description = "files of it; without them all, or what --include says", Arity = ArgumentArity.ZeroOrMore, HelpName = "FILE" };
    private static readonly Option<string> s_kind = HubWords.Kind();
    private static readonly Option<string?> s_revision = HubWords.Revision("a branch, a tag, a commit or refs/pr/N; without it main");
    private static readonly Option<string[]> s_include = new("--include")
    {
        Description = "files whose paths match a pattern such as *.json or data/*",
        HelpName = "PATTERN",
        AllowMultipleArgumentsPerToken = true
    };
    private static readonly Option<string[]> s_exclude = new("--exclude")
    { Description = "but not those that match this one", HelpName = "PATTERN", AllowMultipleArgumentsPerToken = true };
    private static readonly Option<string?> s_folder = new("--local-dir")
    { Description = "put the files themselves into this folder, and nothing into the cache", HelpName = "DIR" };

    public static Command Create()
    {
        var command = new Command("download", "Download a model or a data set of the hub, or some files of it\n\n"
            + "Runs and other commands download what they need themselves; this is for a machine that is to do without a network later, and\n"
            + "brings the newest commit of a branch where an older one is in the cache. What was cut off goes on where it stopped.\n\nExamples:\n"
            + "  handbook download HuggingFaceTB/SmolLM2-135M\n"
            + "  handbook download HuggingFaceH4/ultrachat_200k --repo-type dataset --include 'data/train_sft*'\n"
            + "  handbook download org/model config.json tokenizer.json --revision v1.0 --local-dir models/org/model\n\n"
            + "The last line that is printed is the folder.")
        {
            s_name, s_files, s_kind, s_revision, s_include, s_exclude, s_folder,
        };
        command.SetAction(Run);
        return command;
    }

    private static async Task<int> Run(ParseResult args, CancellationToken cancel)
    {
        var repository = HubWords.Repository(args, s_name, s_kind, s_revision);
        var named = args.GetValue(s_files) ?? [];
        var patterns = new FilePatterns(args.GetValue(s_include) ?? [], args.GetValue(s_exclude) ?? []);
        using var client = new HubClient(HubWords.Online());
        var snapshot = await HubSnapshot.Open(client, repository, cancel);
        var all = await snapshot.Files(cancel);
        string[] paths = [.. all.Select(file => file.Path)];
        var some = string.Join(", ", paths.Take(5)) + (paths.Length > 5 ? ", …" : "");
        if (named.Except(paths).FirstOrDefault() is { } absent)
        {
            snapshot.RememberAbsent(absent);
            throw new InputException($"{repository} has no file {absent}",
                fix: Spelling.Nearest(absent, paths) is { } nearest ? $"did you mean {nearest}?" : $"it has {some}");
        }
        HubFile[] chosen = [.. all.Where(file => (named.Length == 0 || named.Contains(file.Path)) && patterns.Take(file.Path))];
        if (chosen.Length == 0)
            throw new InputException($"{repository} has no file that is meant", fix: $"it has {some}: change --include and --exclude");
        var observer = new ConsoleObserver();
        if (args.GetValue(s_folder) is { } folder)
            await new HubLocalFolder(folder).Fetch(client, repository, snapshot.Commit, chosen, observer, cancel);
        else
            folder = await snapshot.Fetch(chosen, observer, cancel);
        Console.Error.WriteLine($"{repository}, commit {snapshot.Commit[..8]}: {HubWords.Files(chosen.Length)}, "
            + Size.Of(chosen.Sum(file => file.Size)));
        Console.WriteLine(Path.GetFullPath(folder));
        return ExitCode.Ok;
    }
}
