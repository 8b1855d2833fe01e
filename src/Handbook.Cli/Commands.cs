using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using Handbook.Base;

namespace Handbook.Cli;

/// <summary>The list of commands, in the order of the pipeline.</summary>
internal static class Commands
{
    public static RootCommand Root()
    {
        var root = new RootCommand("The Alignment Handbook for .NET: from a recipe to an aligned language model.") { InitCommand.Create() };
        foreach (var training in TrainCommand.All)
            root.Add(training);
        foreach (var command in (ReadOnlySpan<Command>)
        [
            LaunchCommand.Create(), MergeCommand.Create(), QuantizeCommand.Create(), ConvertCommand.Create(), ScoreCommand.Create(), ConstitutionCommand.Create(), GenerateCommand.Create(),
            ChatCommand.Create(), ServeCommand.Create(), EvaluateCommand.Create(), MtBenchCommand.Create(), AlpacaEvalCommand.Create(),
            InspectCommand.Create(), DataCommand.Create(), PlanCommand.Create(),
            WatchCommand.Create(), DashboardCommand.Create(), VerifyCommand.Create(), ReproduceCommand.Create(), ValidateCommand.Create(), ExplainCommand.Create(), SchemaCommand.Create(), RecipesCommand.Create(), MigrateCommand.Create(),
            TokenizerCommand.Create(), DemoDataCommand.Create(), TemplateCommand.Create(), LoginCommand.Create(), WhoamiCommand.Create(),
            DownloadCommand.Create(), UploadCommand.Create(), CacheCommand.Create(), InfoCommand.Create(),
        ])
            root.Add(command);
        StrayOptions.Pair(root);
        var help = root.Options.OfType<HelpOption>().Single();
        help.Action = new TeachingHelp((HelpAction)help.Action!);
        root.SetAction(_ => TeachingHelp.WriteRoot(root, Console.Out));
        return root;
    }

    /// <summary>What to say of a first word that is no command; null where it is one, or an option.</summary>
    public static InputException? Unknown(string word)
    {
        string[] names = [.. Root().Subcommands.Select(command => command.Name)];
        return word.StartsWith('-') || names.Contains(word) ? null
            : new InputException($"{word} is no command of the handbook",
                fix: $"{(Spelling.Nearest(word, names) is { } near ? $"did you mean {near}? " : "")}`handbook --help` lists them");
    }

    /// <summary>The command that was being called, e.g. <c>handbook tokenizer encode</c>.</summary>
    public static string Path(ParseResult result)
    {
        List<string> names = [];
        for (SymbolResult? at = result.CommandResult; at is CommandResult command; at = at.Parent)
            names.Insert(0, command.Command is RootCommand ? "handbook" : command.Command.Name);
        return string.Join(' ', names);
    }
}
