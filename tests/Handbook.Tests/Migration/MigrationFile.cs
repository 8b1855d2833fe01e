using Handbook.Migration;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training.Methods;

namespace Handbook.Tests.Migration;

/// <summary>Settings of another trainer in a folder of their own.</summary>
internal sealed class MigrationFile : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public MigrationFile(string name, string text) => Write(name, text);

    /// <summary>The recipe, which has been read again as every recipe is.</summary>
    public Recipe Recipe { get; private set; } = null!;

    /// <summary>What was made of them.</summary>
    public string Text { get; private set; } = "";

    /// <summary>Where the settings lie.</summary>
    public string Path => _folder[Name];

    private string Name { get; set; } = "";

    /// <summary>Writes another file beside it.</summary>
    public MigrationFile With(string name, string text)
    {
        var first = Name;
        Write(name, text);
        Name = first;
        return this;
    }

    public MigrationFile Migrate(int command = 1, TrainingMethod? method = null, params (string Name, string Value)[] variables)
    {
        var migrated = RecipeMigration.Of(_folder[Name], "mine.yaml", command, method,
            variables.ToDictionary(pair => pair.Name, pair => pair.Value));
        Text = migrated.Text.Replace(_folder.Path + "/", "");
        File.WriteAllText(_folder["mine.yaml"], migrated.Text);
        Recipe = Recipe.Load(_folder["mine.yaml"], migrated.Method);
        return this;
    }

    /// <summary>Why a setting was left, by its line; null where it was not.</summary>
    public string? Left(int line)
    {
        var lines = Text.Split('\n');
        var at = Array.FindIndex(lines, text => text.StartsWith($"#   {line,3}  ", StringComparison.Ordinal));
        return at < 0 ? null : lines[at + 1].TrimStart('#', ' ');
    }

    public void Dispose() => _folder.Dispose();

    private void Write(string name, string text)
    {
        Name = name;
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(_folder[name])!);
        File.WriteAllText(_folder[name], text);
    }
}
