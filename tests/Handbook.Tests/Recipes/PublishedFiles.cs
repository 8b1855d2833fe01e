using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training.Methods;

namespace Handbook.Tests.Recipes;

/// <summary>The recipes of the Python handbook as they were published, below <c>tests/golden/recipes</c>.</summary>
internal static class PublishedFiles
{
    private static readonly string s_folder = Path.Combine(SharedFiles.Repository, "tests", "golden", "recipes");

    /// <summary>Each with its revision, as <c>a/zephyr-7b-beta/sft/config_full</c>.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Directory.EnumerateFiles(s_folder, "*.yaml", SearchOption.AllDirectories)
        .Select(file => Path.GetRelativePath(s_folder, file)[..^".yaml".Length]).Order(StringComparer.Ordinal)];

    public static string PathOf(string name) => Path.Combine(s_folder, name + ".yaml");

    /// <summary>The method: of the folder, or of the name of a file that the Python tests read.</summary>
    public static TrainingMethod MethodOf(string name) => Recipe.GuessMethod(new FileInfo(PathOf(name)));
}
