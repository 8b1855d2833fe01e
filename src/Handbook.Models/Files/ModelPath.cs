namespace Handbook.Models.Files;

/// <summary>Where a model or tokenizer lies that a recipe or command names.</summary>
public static class ModelPath
{
    /// <summary>The path itself where it exists, or what has that name below <c>HANDBOOK_MODELS</c>; null where there is neither.</summary>
    public static string? Find(string name)
    {
        if (Path.Exists(name))
            return name;
        var root = Environment.GetEnvironmentVariable("HANDBOOK_MODELS");
        return !string.IsNullOrEmpty(root) && Path.Exists(Path.Combine(root, name)) ? Path.Combine(root, name) : null;
    }
}
