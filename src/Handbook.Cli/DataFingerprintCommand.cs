using System.CommandLine;
using Handbook.Base;
using Handbook.Data.Decontamination;

namespace Handbook.Cli;

/// <summary><c>handbook data fingerprint DATA --output FILE.fingerprints</c></summary>
internal static class DataFingerprintCommand
{
    private static readonly Argument<string> s_data = new("data") { Description = "a data file, a folder, or a data set's name" };
    private static readonly Option<string> s_output = new("--output")
    { Description = "the file to write", HelpName = $"FILE{FingerprintFile.Ending}", Required = true };
    private static readonly Option<string?> s_name = new("--name")
    { Description = "what the set is called in the file; without it, as it is named here", HelpName = "NAME" };
    private static readonly Option<int> s_ngrams = new("--ngrams")
    {
        Description = "words in a row that rows are compared by; 0 for whole texts alone",
        DefaultValueFactory = _ => new DecontaminationOptions().Ngrams,
        HelpName = "N",
    };
    private static readonly ReferenceSetWords s_set = new("");

    public static Command Create()
    {
        var command = new Command("fingerprint", "Keep a test set as fingerprints, with which rows can be compared and from which nobody can read it\n\n"
            + "Example:\n  handbook data fingerprint data/exam/test.jsonl --columns question,answer --output exam.fingerprints")
        {
            s_data, s_output, s_name, s_ngrams,
        };
        foreach (var option in s_set.All)
            command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult args)
    {
        var (data, output) = (args.GetRequiredValue(s_data), args.GetRequiredValue(s_output));
        if (!output.EndsWith(FingerprintFile.Ending, StringComparison.Ordinal))
            throw new InputException($"--output is {output}, but must end with {FingerprintFile.Ending}",
                "by its ending such a file is told from data", $"--output {Path.ChangeExtension(output, FingerprintFile.Ending)}");
        var options = ReferenceWords.Checked(s_set.Read(args, [data]) with { Ngrams = args.GetValue(s_ngrams) });
        var set = ReferenceSet.Load(options.Against[0], options, recipeFolder: null);
        FingerprintFile.Write(output, set with { Name = args.GetValue(s_name) ?? data });
        Console.WriteLine($"{output}: {set.Texts.Count:N0} texts{(set.TooShort > 0 ? $"; {set.TooShort:N0} are too short to be looked for" : "")}");
        return ExitCode.Ok;
    }
}
