using System.Text.RegularExpressions;

namespace Handbook.Base;

/// <summary>Keeps tokens out of what people and files are shown.</summary>
internal static partial class Secrets
{
    /// <summary>Whether a key or a variable of the environment holds a secret by its name.</summary>
    public static bool IsSecret(string name) => Name().IsMatch(name);

    /// <summary>A line of a recipe, or a command, without the secrets in it.</summary>
    public static string Hide(string text) => Token().Replace(Written().Replace(text, "${name}(hidden)"), "(hidden)");

    [GeneratedRegex(@"\A(?:hub_token|push_to_hub_token|.*(?:TOKEN|SECRET|PASSWORD|API_?KEY).*)\z")]
    private static partial Regex Name();

    [GeneratedRegex("""(?<name>\b(?:(?:push_to_)?hub[_-]token|[A-Z0-9_]*(?:TOKEN|SECRET|PASSWORD|API_?KEY)[A-Z0-9_]*)["']?\s*[:=\s]\s*)(?:"[^"]*"|'[^']*'|[^\s,}]+)""")]
    private static partial Regex Written();

    // what the hub gives out looks like this, wherever it was written
    [GeneratedRegex(@"\bhf_[A-Za-z0-9]{16,}\b")]
    private static partial Regex Token();
}
