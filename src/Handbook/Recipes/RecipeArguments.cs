namespace Handbook.Recipes;

/// <summary>What stands behind a training command: the recipe's path and the keys that it overrides.</summary>
/// <remarks>
/// <c>recipe.yaml --key=value --key value --flag --no_flag --map.inner=value</c>, in any order; <c>--config recipe.yaml</c> names the
/// recipe as well.
/// Dashes inside a key count as underscores. The last of two values for one key wins.
/// </remarks>
public static class RecipeArguments
{
    /// <summary>Splits the words of a command line into the recipe and its overrides.</summary>
    /// <returns>The recipe's path, null when none is named; and the other words, unchanged and in order.</returns>
    public static (string? Recipe, IReadOnlyList<string> Overrides) Split(IReadOnlyList<string> words)
    {
        string? recipe = null;
        List<string> overrides = [];
        for (var i = 0; i < words.Count; i++)
        {
            var word = words[i];
            if (word == "--config" && i + 1 < words.Count)
                recipe = words[++i];
            else if (word.StartsWith("--config=", StringComparison.Ordinal))
                recipe = word["--config=".Length..];
            else if (word.StartsWith("--", StringComparison.Ordinal))
            {
                overrides.Add(word);
                foreach (var value in Override.ValuesAfter(words, i))
                {
                    overrides.Add(value);
                    i++;
                }
            }
            else if (recipe is null)
                recipe = word;
            else
                overrides.Add(word);
        }
        return (recipe, overrides);
    }
}
