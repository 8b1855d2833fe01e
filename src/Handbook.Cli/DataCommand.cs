using System.CommandLine;

namespace Handbook.Cli;

/// <summary><c>handbook data inspect|decontaminate|fingerprint</c>: look at data sets as wholes, and clean them.</summary>
internal static class DataCommand
{
    public static Command Create() => new("data",
        "Look at a data set as a whole, leave out rows that a test set holds, or keep a test set as fingerprints: inspect, decontaminate, fingerprint")
    {
        DataInspectCommand.Create(),
        DataDecontaminateCommand.Create(),
        DataFingerprintCommand.Create(),
    };
}
