using System.CommandLine;
using System.Globalization;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Runs;
using Handbook.Training.Distributed;
using Handbook.Training.Metrics;

namespace Handbook.Cli;

/// <summary><c>handbook reproduce RUN [--output_dir DIR] [--steps N] [--tolerance X] [--anyway]</c>: runs it again and compares.</summary>
internal static class ReproduceCommand
{
    private static readonly Argument<string> s_run = new("run") { Description = "the run's folder: its output_dir", HelpName = "RUN" };
    private static readonly Option<string?> s_output = new("--output_dir", "--output-dir")
    { Description = "where the repetition goes; without it RUN-reproduced", HelpName = "DIR" };
    private static readonly Option<int?> s_steps = new("--steps")
    { Description = "take only the first so many steps, of the same schedule", HelpName = "N" };
    private static readonly Option<double?> s_tolerance = new("--tolerance")
    {
        Description = "the largest difference that still agrees, as a share of a curve's largest value; without it none where the same bits "
            + "are expected, else 0.001, with bf16 0.02",
        HelpName = "SHARE",
    };
    private static readonly Option<bool> s_anyway = new("--anyway") { Description = "repeat it although what it read has changed" };

    /// <summary>Why several processes do not repeat a run.</summary>
    public const string Alone = "one process repeats what several did: it takes the rows of all of them in each step";

    public static Command Create()
    {
        var command = new Command("reproduce", "Run a recorded run again from what its run.json says, and compare the curves step by step\n\n"
            + "First what the run read is verified. On the same machine, and of one process or with deterministic: true, the same bits are "
            + "expected, and any other bit ends with exit code 4; elsewhere differences within --tolerance agree. The repetition's folder gets "
            + "reproduction.json and reproduction.svg.\n\n"
            + "Examples:\n"
            + "  handbook reproduce runs/tiny-sft --steps 25\n"
            + "  handbook reproduce runs/tiny-sft --output_dir runs/tiny-sft-again") { s_run, s_output, s_steps, s_tolerance, s_anyway };
        command.SetAction((args, cancel) => Task.Run(() => Run(args, cancel), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult args, CancellationToken cancel)
    {
        if (args.GetValue(s_steps) is <= 0)
            throw new InputException($"--steps is {args.GetValue(s_steps)}, but must be 1 or more", fix: "for example --steps 20");
        if (args.GetValue(s_tolerance) is { } share && !(share >= 0))
            throw new InputException($"--tolerance is {share}, but must be 0 or more", fix: "for example --tolerance 0.001; 0 asks for the same bits");
        if (Rendezvous.FromEnvironment() is { WorldSize: > 1 and var processes })
            throw new InputException($"reproduce was started as one of {processes} processes", Alone, $"handbook reproduce {args.GetRequiredValue(s_run)}");
        var folder = Path.GetFullPath(args.GetRequiredValue(s_run));
        var output = args.GetValue(s_output) is { } named ? Path.GetFullPath(named) : null;
        Directory.SetCurrentDirectory(RunVerification.WorkingFolderOf(folder));
        var result = RunReproduction.Run(folder, new()
        {
            OutputDir = output,
            Steps = args.GetValue(s_steps),
            Tolerance = args.GetValue(s_tolerance),
            Anyway = args.GetValue(s_anyway),
        }, new ConsoleObserver(), Program.CommandLine, cancel);
        Write(result, Console.Out);
        return result.Agrees ? ExitCode.Ok : ExitCode.Differs;
    }

    private static void Write(Reproduction result, TextWriter output)
    {
        string[][] table = [["metric", "steps", "same bits", "first difference", "largest difference"], .. result.Curves.Select(curve => (string[])
            [curve.Metric, $"{curve.Steps}", curve.IsSame ? "yes" : "no", curve.FirstStep is { } step ? $"step {step}" : "", CurveComparison.Words(curve)])];
        foreach (var line in TextTable.Lines(result.Curves.Count == 0 ? [] : table))
            output.WriteLine(line);
        var weights = result.SameWeights switch { true => "; the weights have the same bits", false => "; the weights have other bits", null => "" };
        var worst = result.Curves.MaxBy(curve => curve.LargestShare);
        var steps = result.LastStep == 1 ? "1 step" : $"{result.LastStep} steps";
        output.WriteLine(result.Curves.Count == 0 ? $"{steps}, of which no number was logged{weights}"
            : result.IsSame ? $"{steps}: the same bits in every number{weights}"
            : string.Create(CultureInfo.InvariantCulture, $"{steps}: {(result.Agrees ? "within" : "not within")} the tolerance of "
                + $"{result.Tolerance:0.####}: {worst?.Metric} differs most, by {worst?.LargestShare:g2} of its largest value{weights}"));
        if (result.Picture is not null)
            output.WriteLine($"curves: {result.Picture}");
    }
}
