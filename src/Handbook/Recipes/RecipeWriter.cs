using System.Text;
using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Training.Plans;

namespace Handbook.Recipes;

/// <summary>The resolved recipe as YAML: every effective value, with a comment where it is not simply the default.</summary>
internal static class RecipeWriter
{
    public static string Write(Recipe recipe)
    {
        var text = new StringBuilder();
        text.Append($"# {recipe.Path} as it was run by `handbook {RecipeNames.Of(recipe.Method)}`, every value that counted included.\n");
        foreach (var record in recipe.Records)
        {
            var keys = RecipeKeys.All.Where(key => key.Property?.DeclaringType == record.GetType() && key.Disposition == Disposition.Works
                && key.Serves(recipe.Method) && !key.IsSecret).ToArray();
            if (keys.Length == 0)
                continue;
            text.Append($"\n# {keys[0].Group}\n");
            foreach (var key in keys)
            {
                var value = key.Property!.GetValue(record);
                // only the data key that is used may stand in the file: it decides the dialect
                if (value is null
                    && key.Name is "dataset_mixer" or "dataset_mixture" or "dataset_name" or "dataset_config" or "dataset_configs")
                    continue;
                // what nothing reads stands there only where the user wrote it
                if (recipe.Sources.GetValueOrDefault(key.Name) is not (KeySource.File or KeySource.CommandLine)
                    && KeyEffects.Unmet(recipe, key.Name) is not null)
                    continue;
                text.Append(Line(key.Name, WithoutSecrets(value), recipe.Sources.GetValueOrDefault(key.Name)));
            }
        }
        if (recipe.WithoutEffect.Count > 0)
            text.Append("\n# Without effect in that run\n");
        foreach (var (key, value) in recipe.WithoutEffect)
            text.Append(Line(key.Name, value, KeySource.File));
        return text.ToString();
    }

    // variables of the environment may be tokens; whoever repeats the run has them from elsewhere
    private static object? WithoutSecrets(object? value) => value is IReadOnlyDictionary<string, string> map
        && map.Keys.Any(Secrets.IsSecret) ? map.Where(entry => !Secrets.IsSecret(entry.Key)).ToDictionary() : value;

    private static string Line(string key, object? value, KeySource source)
    {
        var written = $"{key}:{YamlWriter.Block(value)}";
        var comment = source switch
        {
            KeySource.Default or KeySource.Method => "  # default",
            KeySource.Dialect => "  # default with dataset_mixer",
            KeySource.CommandLine => "  # command line",
            _ => "",
        };
        // a comment behind the header of a block, not inside it
        var end = written.IndexOf('\n');
        return (end < 0 ? written + comment : written[..end] + comment + written[end..]) + "\n";
    }
}
