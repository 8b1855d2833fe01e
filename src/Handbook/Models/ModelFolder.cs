namespace Handbook.Models;

/// <summary>Finds the folder that a model's name means.</summary>
public static class ModelFolder
{
    /// <param name="name">A folder, or its name below <c>HANDBOOK_MODELS</c>.</param>
    /// <exception cref="InputException">There is no such folder.</exception>
    public static string Find(string name)
    {
        if (ModelPath.Find(name) is { } found && Directory.Exists(found))
            return found;
        var root = Environment.GetEnvironmentVariable("HANDBOOK_MODELS");
        throw new InputException($"there is no model folder {name}{(string.IsNullOrEmpty(root) ? "" : $", also not below HANDBOOK_MODELS ({root})")}",
            fix: "name a folder with config.json, weights and tokenizer: a run's output_dir, or what `handbook init` made");
    }
}
