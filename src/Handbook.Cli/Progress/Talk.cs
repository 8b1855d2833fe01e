using System.Text;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Keys;
using Handbook.Training;

namespace Handbook.Cli.Progress;

/// <summary>How much a run tells beside its steps and results: the key <c>log_level</c>, and the variables that the Python launchers
/// read.</summary>
internal static class Talk
{
    private static readonly string[] s_variables = ["ACCELERATE_LOG_LEVEL", "TRANSFORMERS_VERBOSITY"];

    /// <summary>The least that is told.</summary>
    public static Severity Least(LogLevel level) => (level == LogLevel.Passive ? FromEnvironment() : level) switch
    {
        LogLevel.Warning => Severity.Warning,
        LogLevel.Error or LogLevel.Critical => Severity.Error,
        _ => Severity.Note,
    };

    /// <summary>How bad a line is, by its first word.</summary>
    public static Severity Of(string line) => line.StartsWith("error", StringComparison.Ordinal) ? Severity.Error
        : line.StartsWith("warning", StringComparison.Ordinal) ? Severity.Warning : Severity.Note;

    /// <summary>What a recipe's keys give to say.</summary>
    public static string Messages(Diagnostics report, Severity least)
    {
        var text = new StringBuilder();
        foreach (var message in report.All.Where(message => message.Severity >= least))
            message.Write(text, report.File);
        return text.ToString();
    }

    private static LogLevel FromEnvironment() => s_variables.Select(HubCache.Variable).OfType<string>()
        .Select(word => RecipeNames.Spellings(typeof(LogLevel)).FirstOrDefault(spelling =>
            string.Equals(spelling.Name, word, StringComparison.OrdinalIgnoreCase)).Value).OfType<LogLevel>().FirstOrDefault();
}
