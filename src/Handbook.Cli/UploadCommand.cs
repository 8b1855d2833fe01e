using System.CommandLine;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Cli.Progress;
using Handbook.Hub;

namespace Handbook.Cli;

/// <summary><c>handbook upload FOLDER REPO [--path-in-repo P] [--revision R] [--private] [--include P] [--exclude P] [--delete
/// P]</c></summary>
internal static class UploadCommand
{
    private static readonly Argument<string> s_folder = new("folder")
    {
        Description = "a folder, such as a run's output_dir, or one file",
        HelpName = "FOLDER"
    };
    private static readonly Argument<string> s_name = new("repository")
    { Description = "owner/name, or name alone for one of your own; it is made where it is missing", HelpName = "REPOSITORY" };
    private static readonly Option<string> s_kind = HubWords.Kind();
    private static readonly Option<string?> s_revision =
        HubWords.Revision("the branch to publish on, which is made where it is missing; without it main");
    private static readonly Option<string> s_path = new("--path-in-repo")
    { Description = "the folder of the repository that the files go to", DefaultValueFactory = _ => "", HelpName = "PATH" };
    private static readonly Option<bool> s_private = new("--private") { Description = "let a new repository be seen by its owner alone" };
    private static readonly Option<string[]> s_include = new("--include")
    { Description = "only files whose paths match a pattern such as *.json", HelpName = "PATTERN", AllowMultipleArgumentsPerToken = true };
    private static readonly Option<string[]> s_exclude = new("--exclude")
    { Description = "but not those that match this one", HelpName = "PATTERN", AllowMultipleArgumentsPerToken = true };
    private static readonly Option<string[]> s_delete = new("--delete")
    {
        Description = "remove files of the repository that match, and are not among those uploaded",
        HelpName = "PATTERN",
        AllowMultipleArgumentsPerToken = true
    };
    private static readonly Option<string?> s_message = new("--message", "-m")
    {
        Description = "what the commit is called",
        HelpName = "TEXT"
    };

    public static Command Create()
    {
        var command = new Command("upload", "Publish a folder on the hub, or finish publishing it\n\n"
            + "What the hub has already, by its content, is not sent again: after a break the same command goes on where it was. Files that a\n"
            + ".gitignore of the folder names stay here, and of a run's folder its checkpoints.\n\nExamples:\n"
            + "  handbook upload runs/tiny-sft my-model --private\n"
            + "  handbook upload runs/tiny-sft org/my-model --revision v1.0 --message 'after 3 epochs'\n"
            + "  handbook upload data/pairs org/pairs --repo-type dataset --exclude '*.tmp' --delete 'old/*'\n\n"
            + "It needs a token that may write: `handbook login`.")
        {
            s_folder, s_name, s_kind, s_revision, s_path, s_private, s_include, s_exclude, s_delete, s_message,
        };
        command.SetAction(Run);
        return command;
    }

    private static async Task<int> Run(ParseResult args, CancellationToken cancel)
    {
        var settings = HubWords.Online();
        if (settings.Token is null)
            throw new InputException("there is no token, so nothing can be published",
                fix: "`handbook login` stores one; it must be allowed to write");
        using var client = new HubClient(settings);
        var (name, below) = (args.GetRequiredValue(s_name), args.GetValue(s_path)!.Trim('/'));
        if (!name.Contains('/'))
            name = $"{(await client.WhoAmI(cancel)).Name}/{name}";
        var repository = HubRepository.Parse(HubWords.KindOf(args.GetValue(s_kind)), name, args.GetValue(s_revision));
        var files = Open(args.GetRequiredValue(s_folder), below, new(args.GetValue(s_include) ?? [], args.GetValue(s_exclude) ?? []));
        try
        {
            var writer = new HubWriter(client);
            if (await writer.Create(repository, args.GetValue(s_private) ? true : null, cancel))
                Console.Error.WriteLine($"made {HubClient.About(repository with { Revision = HubCache.Main })}");
            if (repository.Revision != HubCache.Main && await writer.Branch(repository, cancel))
                Console.Error.WriteLine($"made the branch {repository.Revision}");
            var stale = args.GetValue(s_delete) is { Length: > 0 } patterns ? new FilePatterns(patterns, []) : null;
            var result = await new HubUpload(client, new ConsoleObserver()).Run(repository, files,
                args.GetValue(s_message)
                    ?? $"Upload {RealPath.NameOf(args.GetRequiredValue(s_folder))}",
                stale is null ? null : stale.Take, cancel);
            Console.Error.WriteLine($"{HubWords.Files(result.Sent)} changed, {HubWords.Files(result.Known)} there already, "
                + $"{HubWords.Files(result.Deleted)} removed");
            Console.WriteLine($"{new Uri(settings.Endpoint, repository.Page)}/tree/{repository.Revision}, commit {result.Commit[..8]}");
            return ExitCode.Ok;
        }
        finally
        {
            foreach (var file in files)
                file.Dispose();
        }
    }

    private static IReadOnlyList<UploadFile> Open(string folder, string below, FilePatterns patterns)
    {
        if (File.Exists(folder))
            return [UploadFile.Open(folder, below.Length == 0 ? Path.GetFileName(folder) : below)];
        if (!Directory.Exists(folder))
            throw new InputException($"there is no folder {folder}", fix: "name a folder on this machine first, then the repository");
        return UploadFolder.Open(folder, below, patterns.Take) is { Count: > 0 } files ? files
            : throw new InputException($"{folder} has no file to publish", fix: "look at --include, --exclude and the folder's .gitignore");
    }
}
