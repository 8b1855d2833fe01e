using Handbook.Recipes;
using Handbook.Testing;

namespace Handbook.Cli.Tests.Recipes;

/// <summary>The rows of <c>docs/recipes.md</c>: a recipe of ours, <c>recipes/…</c>, or of a revision of the Python handbook, <c>a/…</c>,
/// <c>b/…</c>,
/// <c>m/…</c>.</summary>
internal static class RecipeTable
{
    private static readonly string s_file = Path.Combine(SharedFiles.Repository, "docs", "recipes.md");

    /// <summary>Every recipe that has a row.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Below("recipes", ""), .. Below("tests/golden/recipes", "")];

    /// <summary>The document.</summary>
    public static string Text => File.ReadAllText(s_file);

    public static string PathOf(string name) => Path.Combine(SharedFiles.Repository,
        name.StartsWith("recipes/", StringComparison.Ordinal) ? $"{name}.yaml" : $"tests/golden/recipes/{name}.yaml");

    /// <summary>The folder of recipes that it belongs to.</summary>
    public static string Folder(string name) => string.Join('/', name.Split('/')[..2]);

    public static Recipe Load(string name) => Recipe.Load(PathOf(name));

    /// <summary>The rows, by name.</summary>
    public static Dictionary<string, string> Rows() => File.ReadLines(s_file).Where(IsRow).ToDictionary(NameOf);

    /// <summary>Writes a row in its place.</summary>
    public static void Write(string name, string row)
    {
        var lines = File.ReadAllLines(s_file).ToList();
        var section = name.StartsWith("recipes/", StringComparison.Ordinal) ? "## Ours" : $"## Revision {char.ToUpperInvariant(name[0])}";
        var first = lines.FindIndex(line => line.StartsWith(section, StringComparison.Ordinal));
        var table = lines.FindIndex(first, line => line.StartsWith("|---", StringComparison.Ordinal)) + 1;
        var end = table;
        while (end < lines.Count && IsRow(lines[end]))
            end++;
        List<string> rows = [.. lines[table..end].Where(line => NameOf(line) != name), row];
        rows.Sort((one, other) => string.CompareOrdinal(NameOf(one), NameOf(other)));
        lines.RemoveRange(table, end - table);
        lines.InsertRange(table, rows);
        File.WriteAllText(s_file, string.Join('\n', lines) + "\n");
    }

    private static bool IsRow(string line) => line.StartsWith("| `recipes/", StringComparison.Ordinal) || line.StartsWith("| `a/",
        StringComparison.Ordinal)
        || line.StartsWith("| `b/", StringComparison.Ordinal) || line.StartsWith("| `m/", StringComparison.Ordinal);

    private static string NameOf(string row) => row.Split('`')[1];

    private static IEnumerable<string> Below(string folder, string prefix)
    {
        var root = Path.Combine(SharedFiles.Repository, folder);
        return Directory.EnumerateFiles(root, "*.yaml", SearchOption.AllDirectories).Order(StringComparer.Ordinal)
            .Where(file => File.ReadLines(file).Any(line => line.StartsWith("model_name_or_path:", StringComparison.Ordinal)))
            .Select(file => Path.GetRelativePath(root, file)[..^".yaml".Length])
            .Select(name => folder == "recipes" ? $"recipes/{name}" : name);
    }
}
