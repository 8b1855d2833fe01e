using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using Handbook.Base;
using Handbook.Runs;

namespace Handbook.Cli;

/// <summary><c>handbook verify RUN [--quick] [--no-rows] [--json]</c>: is what a run read and wrote still what it was?</summary>
internal static class VerifyCommand
{
    private static readonly Argument<string> s_run = new("run") { Description = "the run's folder: its output_dir", HelpName = "RUN" };
    private static readonly Option<bool> s_quick = new("--quick")
    { Description = "trust the hashes that are kept of files whose size and time have not changed, in the place of reading every byte" };
    private static readonly Option<bool> s_noRows = new("--no-rows")
    { Description = "do not read the rows of the data again to compare which ones the steps draw" };
    private static readonly Option<bool> s_json = new("--json") { Description = "print what was found as JSON" };

    private static readonly JsonSerializerOptions s_readable = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Command Create()
    {
        var command = new Command("verify", "Compare a run's data, template, tokenizer, weights, recipe and outputs with their hashes in its run.json\n\n"
            + "Ends with exit code 4 where something that the run read or wrote has changed or is missing. Another program or machine is told, "
            + "and changes last bits at most.\n\n"
            + "Examples:\n"
            + "  handbook verify runs/tiny-sft\n"
            + "  handbook verify runs/tiny-sft --quick --json") { s_run, s_quick, s_noRows, s_json };
        command.SetAction((args, cancel) => Task.Run(() => Run(args, cancel), cancel));
        return command;
    }

    private static int Run(ParseResult args, CancellationToken cancel)
    {
        var folder = Path.GetFullPath(args.GetRequiredValue(s_run));
        Directory.SetCurrentDirectory(RunVerification.WorkingFolderOf(folder));
        var found = RunVerification.Of(folder, args.GetValue(s_quick), rows: !args.GetValue(s_noRows), cancel: cancel);
        if (args.GetValue(s_json))
            Console.Out.WriteLine(JsonSerializer.Serialize(new
            {
                run = args.GetRequiredValue(s_run),
                whole = found.IsWhole,
                parts = found.Parts.Select(part => new { what = part.What, name = part.Name, state = Word(part.State), detail = part.Detail }),
            }, s_readable));
        else
            Write(found.Parts, Console.Out);
        return found.IsWhole ? ExitCode.Ok : ExitCode.Differs;
    }

    /// <summary>The parts as a table, and how many there are of each state.</summary>
    public static void Write(IReadOnlyList<VerifiedPart> parts, TextWriter output)
    {
        string[][] table = [["what", "name", "state", ""], .. parts.Select(part => (string[])[part.What, part.Name, Word(part.State), part.Detail])];
        foreach (var line in TextTable.Lines(table))
            output.WriteLine(line);
        output.WriteLine(string.Join(", ", parts.GroupBy(part => part.State).OrderBy(group => group.Key)
            .Select(group => $"{group.Count()} {Word(group.Key)}")));
    }

    private static string Word(VerifiedState state) => state.ToString().ToLowerInvariant();
}
