using System.CommandLine;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;
using Handbook.Cli.Progress;
using Handbook.Data.Decontamination;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;

namespace Handbook.Cli;

/// <summary><c>handbook data decontaminate DATA --against SET [--output FILE]</c></summary>
internal static class DataDecontaminateCommand
{
    private const int RowsShown = 5;

    private static readonly Argument<string> s_data = new("data") { Description = "a data file, a folder, or a data set's name" };
    private static readonly DataWords s_words = new("the split to read, also a slice; without it train");
    private static readonly Option<string?> s_output = new("--output")
    { Description = "where to write the rows that hold no reference text, one JSON object a line", HelpName = "FILE.jsonl" };
    private static readonly Option<string?> s_report = new("--report")
    { Description = "where to write the rows that hold one, and what they share", HelpName = "FILE.jsonl" };
    private static readonly ReferenceWords s_references = new();

    public static Command Create()
    {
        var command = new Command("decontaminate", "Leave out rows that hold texts of a test set\n\n"
            + "Every text of a row is compared: prompts, answers, all turns. Without --output nothing is written, and the rows are counted.\n\n"
            + "Examples:\n  handbook data decontaminate data/tiny/sft --against human-eval\n"
            + "  handbook data decontaminate rows.jsonl --against data/gsm8k/test.jsonl --ngrams 10 --output clean.jsonl --report left-out.jsonl")
        {
            s_data, s_output, s_report,
        };
        foreach (var option in s_words.All.Concat(s_references.All))
            command.Add(option);
        command.SetAction((args, cancel) => Task.Run(() => Run(args, cancel), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult args, CancellationToken cancel)
    {
        var (data, output, report) = (args.GetRequiredValue(s_data), args.GetValue(s_output), args.GetValue(s_report));
        var options = s_references.Read(args) ?? throw new InputException("no reference set is named",
            fix: "add --against human-eval, or --against with a data file, a folder, or a data set's name");
        var source = Dataset.Open(HubWords.Rows(s_words.Read(args, data), cancel));
        OutputFile.MustNotReplace("--output", output, source.Files, "with the rows");
        OutputFile.MustNotReplace("--report", report, [.. source.Files, .. output is null ? Array.Empty<string>() : [output]], "with the rows");
        OutputFile.MustBeOfKind("--report", report, "report", "{\"data\":");
        var check = new ContaminationCheck(options, ReferenceSet.Load(HubWords.References(options, cancel), recipeFolder: null));
        foreach (var remark in source.Remarks.Concat(check.Notes))
            Console.Error.WriteLine(remark);
        CleanedRows rows;
        using (var shown = ((IWorkObserver)new ConsoleObserver()).Began($"comparing {data}", null, "rows"))
            rows = CleanedRows.Of(source, check, output, shown.Report, cancel);
        if (rows.Unreadable > 0)
            Console.Error.WriteLine($"warning: {rows.Unreadable:N0} rows cannot be read and are in no file, e.g. {rows.FirstUnreadable}");
        if (rows.WithoutText > 0)
            Console.Error.WriteLine($"note: {rows.WithoutText:N0} rows hold no text that could be compared");
        var found = new DecontaminationReport(check.Against, check.Texts, (int)rows.Rows, rows.LeftOut.Count, 0, 0,
            [.. rows.LeftOut.Select(row => new LeftOutRow(data, false, row))]);
        if (report is not null)
            WholeFile.WriteText(report, found.ToText());
        Console.WriteLine($"{data}: {rows.LeftOut.Count:N0} of {rows.Rows:N0} rows"
            + $"{(rows.LeftOut.Count > 0 ? $" ({(double)rows.LeftOut.Count / rows.Rows:P2})" : "")} hold one of the {check.Texts:N0} reference "
            + $"texts of {check.Against}");
        foreach (var row in rows.LeftOut.Take(RowsShown))
            Console.WriteLine($"  {row.Place} {row.Where}: {row.Shared.Kind} of {row.Shared.Text}: {row.Shared.Excerpt}");
        if (rows.LeftOut.Count > RowsShown)
            Console.WriteLine($"  … {rows.LeftOut.Count - RowsShown:N0} more{(report is null ? "; --report FILE lists them all" : $" in {report}")}");
        if (output is not null)
            Console.WriteLine($"wrote {rows.Kept:N0} rows to {output}");
        return ExitCode.Ok;
    }
}
