using System.CommandLine;
using System.Security.Cryptography;
using System.Text;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Data.Cache;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Plans;
using Handbook.Training.Rewards;

namespace Handbook.Cli;

/// <summary><c>handbook score MODEL DATA [--output FILE]</c></summary>
internal static class ScoreCommand
{
    private static readonly ModelWords _model = new("folder of the reward model, or of a classifier");
    private static readonly Argument<string> _data = new("data")
    {
        Description = "a data file, a folder, or a data set's name: conversations, prompts with completions, texts, or pairs of chosen and "
        + "rejected answers"
    };
    private static readonly Option<string?> _output = new("--output",
        "-o")
    {
        Description = "write the rows with their scores to this file, as JSON lines; an interrupted run goes on. Without it they "
            + "go to the standard output",
        HelpName = "FILE"
    };
    private static readonly Option<string> _split = new("--split")
    {
        Description = "the split to read, e.g. test or train[:1%]",
        DefaultValueFactory = _ => "train"
    };
    private static readonly Option<string[]> _column = new("--column")
    { Description = "read one of our columns from another, e.g. --column completion=answer; may be repeated", HelpName = "OURS=THEIRS" };
    private static readonly Option<int?> _maxLength = new("--max-length")
    { Description = "leave texts of more tokens without a score", HelpName = "N" };
    private static readonly Option<int> _maxTokens = new("--max-tokens")
    {
        Description = "most tokens that are computed at once",
        DefaultValueFactory = _ => 4096,
        HelpName = "N"
    };
    private static readonly Option<string> _dtype = OptionWords.Precision();
    private static readonly Option<bool> _useCpu = OptionWords.UseCpu();
    private static readonly Option<string?> _against = new("--against")
    { Description = "another model's scored answers to the same prompts: also print how often these are better", HelpName = "FILE" };
    private static readonly Option<bool> _fresh = new("--fresh") { Description = "begin anew, whatever an interrupted run has left" };

    public static Command Create()
    {
        var command = new Command("score", "Score the rows of a data set with a reward model, or say how likely a classifier's "
            + "labels are\n\nExamples:\n"
            + "  handbook score runs/tiny-reward data/tiny/preferences/test.jsonl -o scores.jsonl\n"
            + "  handbook score runs/tiny-reward answers.jsonl --column completion=answer\n"
            + "  handbook score runs/tiny-reward new.jsonl --column completion=answer -o new-scores.jsonl --against old-scores.jsonl")
        {
            _model.Model, _data, _output, _split, _column, _maxLength, _maxTokens, _dtype, _useCpu, _against, _fresh,
        };
        _model.AddTo(command);
        // Every tensor lives on the worker's thread; this one stays free to hear Ctrl-C.
        command.SetAction((args, cancel) => Task.Run(() => Run(args, cancel), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult args, CancellationToken cancel)
    {
        var (output, maxTokens) = (args.GetValue(_output), args.GetValue(_maxTokens));
        if (maxTokens < 1)
            throw new InputException($"--max-tokens is {maxTokens}", fix: "use 1 or more, e.g. --max-tokens 4096");
        if (args.GetValue(_against) is not null && output is null)
            throw new InputException("--against compares two files of scores, but --output names none", fix: "add -o scores.jsonl");
        var line = new LiveLine();
        using var taken = output is null ? null : RunLock.TakeFile(output, "--output", Program.CommandLine);
        var named = _model.Source(args);
        using var model = RewardModel.Open(named,
            args.Compute(_dtype), line.Print, maxTokens, DevicePlan.Loader(named, new ConsoleObserver(line), args.Wish(_useCpu)), withLabels: true);
        if (model.Labels is not null && args.GetValue(_against) is not null)
            throw new InputException($"--against compares scores, and {named.Name} is a classifier of {model.Labels.Names.Count} labels",
                fix: "leave --against out");
        var spec = new DatasetSpec
        {
            Id = args.GetRequiredValue(_data),
            Split = args.GetValue(_split)!,
            ColumnMapping = Columns(args.GetValue(_column) ?? [])
        };
        var source = Dataset.Open(HubWords.Rows(spec, cancel));
        OutputFile.MustNotReplace("--output", output, source.Files, "whose rows are scored");
        OutputFile.MustNotReplace("--output", output, args.GetValue(_against) is { } earlier ? [earlier] : [],
            "that --against compares with");
        var tokenizer = new ScoreTokenizer(source, spec, model.Tokenizer, Longest(args.GetValue(_maxLength), model.Network.Config));
        if (!tokenizer.HasChatTemplate)
            line.Print("note: the reward model's tokenizer has no chat template; conversations are rendered with the built-in one");
        var run = new ScoreRun(model, source, tokenizer);
        foreach (var column in run.Replaced)
            line.Print($"note: the rows have a column {column}; in what is written it holds the new score");

        using var file = output is null ? null : ScoreFile.Open(output, Key(args, named, source, tokenizer), args.GetValue(_fresh));
        var summary = file?.Summary ?? new();
        if (summary.Rows > 0)
            line.Print($"going on from row {summary.Rows:N0} of an interrupted run; begin anew with --fresh");
        try
        {
            using var bar = new ProgressBar("scoring", CacheFolder.Default.CountOf(source), "rows", line);
            bar.Report(summary.Rows);
            using var direct = file is null ? Console.OpenStandardOutput() : null;
            run.Run(file?.Stream ?? direct!, summary, file is null ? null : file.Keep, count => bar.Advance(count), cancel);
        }
        catch (OperationCanceledException) when (file is not null)
        {
            line.Print(summary.Rows == 0 ? "interrupted before the first rows were scored: nothing was written"
                : $"interrupted: the scores of {summary.Rows:N0} rows are kept in {output}.part, and the same command goes on from there");
            throw;
        }
        if (summary.Scored == 0)
        {
            file?.Discard();
            throw new InputException($"{spec.Id}: no row could be "
                + $"scored{string.Concat(summary.Left.Select(left => $"\n    {left.Value.Count} × {left.Key}, e.g. {left.Value.First}"))}",
                fix: "check the layout of the rows, or map their columns with --column prompt=… --column completion=…");
        }
        file?.Finish();
        Report(summary, model.Labels, file is null ? Console.Error : Console.Out, output);
        if (args.GetValue(_against) is { } other)
        {
            var rate = WinRate.Compare(output!, other);
            Console.WriteLine($"win rate {rate.Rate:0.0000} against {other} (won {rate.Won:N0}, lost {rate.Lost:N0}, tied {rate.Tied:N0} "
                + $"of {rate.Count:N0})");
        }
        return ExitCode.Ok;
    }

    /// <summary>Beyond learned positions there is no embedding: such rows stay without a score, and the others get theirs.</summary>
    private static int? Longest(int? asked, DecoderConfig config) => config.Positions == PositionKind.Learned
        ? Math.Min(asked ?? int.MaxValue, config.MaxPositions) : asked;

    private static Dictionary<string, string>? Columns(string[] words) => words.Length == 0 ? null : words.ToDictionary(
        word => word.Split('=', 2) is [{ Length: > 0 } ours, { Length: > 0 }] ? ours
            : throw new InputException($"--column {word} is not understood",
            fix: "write --column OURS=THEIRS, e.g. --column completion=answer"),
        word => word.Split('=', 2)[1]);

    /// <summary>What decides the content of the output: weights, rows, tokens, precision.</summary>
    private static string Key(ParseResult args, ModelSource model, IRowSource source, ScoreTokenizer tokenizer)
    {
        var files = model.Adapters.Prepend(model.Folder).SelectMany(ModelFolder.Files);
        var text = $"{source.Identity}\n{tokenizer.Fingerprint}\n{args.GetValue(_dtype)} {args.GetValue(_maxTokens)} "
            + $"{(model.IsOverOriginal ? null : model.Recorded)}\n"
            + string.Join('\n', files.Concat(source.Files).Select(CacheFolder.Default.HashOf));
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
    }

    private static void Report(ScoreSummary summary, LabelSet? labels, TextWriter output, string? file)
    {
        foreach (var (reason, left) in summary.Left)
            Console.Error.WriteLine($"without a score: {left.Count:N0} × {reason}, e.g. {left.First}");
        if (labels is not null)
        {
            output.WriteLine($"read {summary.Scored:N0} rows{(file is null ? "" : $" into {file}")}"
                + (summary.Labels.Count == 0 ? "" : ": " + string.Join(", ", labels.Names.Where(summary.Labels.ContainsKey)
                    .Select(name => $"{name} {summary.Labels[name]:N0}"))));
            return;
        }
        var text = $"scored {summary.Scored:N0} rows{(file is null ? "" : $" in {file}")}: "
            + $"mean {summary.ScoreSum / summary.Scores:0.0000}, least {summary.Least:0.0000}, greatest {summary.Greatest:0.0000}";
        if (summary.Pairs > 0)
            text += $"\naccuracy {summary.Accuracy:0.0000} ({summary.Right:N0} of {summary.Pairs:N0} pairs), "
                + $"margin {summary.MarginSum / summary.Pairs:0.0000}";
        output.WriteLine(text);
    }
}
