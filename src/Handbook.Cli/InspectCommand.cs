using System.CommandLine;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Data.Tokenizing;
using Handbook.Models;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Training;
using Handbook.Training.Plans;
using Spectre.Console;

namespace Handbook.Cli;

/// <summary><c>handbook inspect RECIPE [--key=value]…</c>, or <c>handbook inspect --tokenizer DIR --data FILE</c></summary>
internal static class InspectCommand
{
    private static readonly Option<string?> _method = MethodOption.Create();
    private static readonly Option<string?> _tokenizer = new("--tokenizer")
    {
        Description = "without a recipe: a tokenizer's folder or "
        + "file",
        HelpName = "PATH"
    };
    private static readonly Option<string?> _data = new("--data")
    {
        Description = "without a recipe: a data file, a folder, or a data "
        + "set's name",
        HelpName = "PATH"
    };
    private static readonly Option<string> _split = new("--split")
    {
        Description = "with --data: the split to read",
        DefaultValueFactory = _ => "train"
    };
    private static readonly Option<string> _loss = new("--loss")
    {
        Description = "with --data: auto, all, completion or assistant",
        DefaultValueFactory = _ => "auto"
    };
    private static readonly Option<string?> _encoding = new("--encoding")
    {
        Description = "with --data: the encoding of text files that "
        + "are not UTF-8",
        HelpName = "NAME"
    };
    private static readonly Option<int?> _maxLength = new("--max-length")
    {
        Description = "with --data: cut rows after this many tokens",
        HelpName = "N"
    };
    private static readonly Option<int> _rows = new("--rows")
    {
        Description = "rows to show",
        DefaultValueFactory = _ => 3,
        HelpName = "N"
    };
    private static readonly Option<int> _tokens = new("--tokens")
    {
        Description = "most tokens of a row to show",
        DefaultValueFactory = _ => 600,
        HelpName = "N"
    };

    public static Command Create()
    {
        var command = new Command("inspect",
            "Show the first rows of a recipe's data as the model will see them, what carries loss, and how long rows are")
        {
            RecipeWords.Argument, _method, _tokenizer, _data, _split, _loss, _encoding, _maxLength, _rows, _tokens,
        };
        command.TreatUnmatchedTokensAsErrors = false;       // --max_length=512 and its like: Recipe.Load judges them
        command.SetAction((args, cancel) => Task.Run(() => Run(args, cancel), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult args, CancellationToken cancel)
    {
        TrainingDataOptions options;
        if (args.GetValue(_data) is { } path)
            options = FromArguments(args, path);
        else
        {
            string[] own = [.. args.CommandResult.Command.Options.Select(option => option.Name)];
            var (file, overrides) = RecipeWords.Of(args, own);
            if (!Recipe.Load(file, overrides, MethodOption.Read(args, _method) ?? Recipe.GuessMethod(file, overrides))
                .TryGet(out var recipe, out var diagnostics))
                return ExitCode.BadInput(diagnostics);
            HubWords.All(recipe, cancel);
            options = RowPlan.Options(recipe, RowPlan.LoadTokenizer(recipe));
        }
        // What is wrong with rows is this command's subject: it shows them, and does not stop.
        using var shown = new TokenizingProgress(new ConsoleObserver());
        using var data = TrainingData.Load(options with { MaxBadRows = 1 }, shown, cancel);
        var report = new InspectReport(Console.Out, coloured: !Console.IsOutputRedirected
            && AnsiConsole.Profile.Capabilities is { Ansi: true, ColorSystem: not ColorSystem.NoColors });
        report.Sources(data.Sources, data.Remarks);
        report.Lengths(LengthStatistics.Of(data.Train));
        for (var i = 0; i < Math.Min(args.GetValue(_rows), data.Train.Count); i++)
            report.Row(data.Train.Read(i), i, options.Tokenizer, args.GetValue(_tokens));
        return ExitCode.Ok;
    }

    private static TrainingDataOptions FromArguments(ParseResult args, string path)
    {
        var name = args.GetValue(_tokenizer) ?? throw new InputException("--data is given without --tokenizer",
            fix: "add --tokenizer DIR, a folder with tokenizer.json");
        var tokenizer = Tokenizer.Load(HubWords.Tokenizer(name));
        return new TrainingDataOptions
        {
            Mixture = new MixtureSpec
            {
                Dialect = MixtureDialect.Single,
                Datasets = [HubWords.Rows(new DatasetSpec { Id = path, Encoding = args.GetValue(_encoding),
                    Split = args.GetValue(_split)! })],
                TrainSplit = args.GetValue(_split)!,
            },
            Tokenizer = tokenizer,
            Chats = new ChatRowEncoder(tokenizer, ChatTemplate.Of(tokenizer, "chat_template")),
            Rows = new RowTokenizerOptions
            {
                MaxLength = args.GetValue(_maxLength),
                EndToken = tokenizer.EosId is null ? EndTokenRule.Never : EndTokenRule.TextsWithout,
                Loss = args.GetValue(_loss) switch
                {
                    "auto" => LossScope.Automatic,
                    "all" => LossScope.All,
                    "completion" => LossScope.Completion,
                    "assistant" => LossScope.Assistant,
                    var other => throw new InputException($"--loss {other} is not known", fix: "use auto, all, completion or assistant"),
                },
            },
        };
    }
}
