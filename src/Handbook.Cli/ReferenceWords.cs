using System.CommandLine;
using Handbook.Base;
using Handbook.Data.Decontamination;

namespace Handbook.Cli;

/// <summary>The options that say which texts rows are compared with, and how.</summary>
internal sealed class ReferenceWords
{
    private readonly Option<string[]> _against = new("--against")
    {
        Description = "a reference set: human-eval (built in), a data file, a folder, a data set's name, or a file of fingerprints; may be given "
            + "several times",
        HelpName = "SET",
        AllowMultipleArgumentsPerToken = true,
    };
    private readonly Option<int> _ngrams = new("--ngrams")
    {
        Description = "words in a row that a row must share with a reference text; 0 looks for whole texts alone",
        DefaultValueFactory = _ => new DecontaminationOptions().Ngrams,
        HelpName = "N",
    };
    private readonly Option<double> _overlap = new("--overlap")
    {
        Description = "the share of a reference text's runs of words that a row must hold; at 0 one is enough",
        HelpName = "SHARE",
    };

    /// <summary>Splits, columns and form of a set, and the shortest text that counts: also of one that fingerprints are taken of.</summary>
    private readonly ReferenceSetWords _sets = new("against-");

    /// <summary>The options, for a command to take in.</summary>
    public IEnumerable<Option> All => [_against, _ngrams, _overlap, .. _sets.All];

    /// <summary>What they say; null where no set is named.</summary>
    /// <exception cref="InputException">A number is out of its range.</exception>
    public DecontaminationOptions? Read(ParseResult args)
    {
        if (args.GetValue(_against) is not { Length: > 0 } sets)
            return null;
        return Checked(_sets.Read(args, sets) with { Ngrams = args.GetValue(_ngrams), Overlap = args.GetValue(_overlap) });
    }

    /// <summary>The options, if they may be.</summary>
    internal static DecontaminationOptions Checked(DecontaminationOptions options)
    {
        var report = new Diagnostics("command line");
        options.Validate(report);
        return report.Errors is [var first, ..]
            ? throw new InputException(first.What.Replace("decontaminate.", "--", StringComparison.Ordinal).Replace('_', '-'), first.Why, first.Fix)
            : options;
    }
}
