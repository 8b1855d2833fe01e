namespace Handbook.Base.Files;

/// <summary>The home of whoever runs the program, which paths of a recipe may name as <c>~</c>.</summary>
internal static class UserFolder
{
    public static string Path => Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);

    /// <summary>The path with the home in place of a leading <c>~</c>.</summary>
    public static string Expand(string path) => path == "~" || path.StartsWith("~/", StringComparison.Ordinal) ? Path + path[1..] : path;
}
