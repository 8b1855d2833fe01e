using System.Text.RegularExpressions;

namespace Handbook.Hub;

/// <summary>What a folder's <c>.gitignore</c> keeps out of a repository: the last line that matches decides, <c>!</c> takes back, a slash
/// inside a line ties it to the folder, one behind it means folders alone.</summary>
internal sealed class IgnoreRules
{
    private readonly List<(Regex Pattern, bool Ignores, bool FoldersAlone)> _rules = [];

    /// <param name="lines">The lines of the file.</param>
    public IgnoreRules(IEnumerable<string> lines)
    {
        foreach (var raw in lines)
        {
            var line = raw.TrimEnd('\r');
            // Blanks behind a line do not count, unless the last is written with a stroke before it.
            while (line.EndsWith(' ') && !line.EndsWith(@"\ ", StringComparison.Ordinal))
                line = line[..^1];
            if (line.Length == 0 || line[0] == '#')
                continue;
            var ignores = line[0] != '!';
            if (!ignores)
                line = line[1..];
            var foldersAlone = line.EndsWith('/');
            line = line.TrimEnd('/');
            var isTied = line.Contains('/');
            line = line.TrimStart('/');
            if (line.Length > 0)
                _rules.Add((new($@"\A{(isTied ? "" : "(?:.*/)?")}{FilePatterns.Translate(line, crosses: false)}\z",
                    RegexOptions.CultureInvariant | RegexOptions.NonBacktracking | RegexOptions.Singleline), ignores, foldersAlone));
        }
    }

    /// <summary>Those of a folder; none where it has no such file.</summary>
    public static IgnoreRules Of(string folder) =>
        new(Path.Combine(folder, ".gitignore") is var file && File.Exists(file) ? File.ReadLines(file) : []);

    /// <summary>Whether a file is kept out: it, or a folder that it lies in.</summary>
    /// <param name="path">Below the folder, with forward slashes.</param>
    public bool Ignores(string path)
    {
        for (var end = path.IndexOf('/'); end >= 0; end = path.IndexOf('/', end + 1))
            if (Decide(path[..end], isFolder: true))
                return true;        // what lies in a folder that is out cannot be taken back
        return Decide(path, isFolder: false);
    }

    private bool Decide(string path, bool isFolder) =>
        _rules.FindLast(rule => (isFolder || !rule.FoldersAlone) && rule.Pattern.IsMatch(path)) is { Pattern: not null, Ignores: true };
}
