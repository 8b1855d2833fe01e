using Handbook.Text;

namespace Handbook.Recipes;

/// <summary>The tokenizer of a recipe with the template and special tokens that the recipe asks for.</summary>
public static class RecipeTokenizer
{
    /// <summary>Loads it: the recipe's template wins over the tokenizer's, which wins over Zephyr's.</summary>
    public static Tokenizer Load(Recipe recipe)
    {
        var path = recipe.Model.TokenizerPath();
        if (!File.Exists(path) && !Directory.Exists(path) && Environment.GetEnvironmentVariable("HANDBOOK_MODELS") is { Length: > 0 } root && Directory.Exists(Path.Combine(root, path)))
            path = Path.Combine(root, path);
        var tokenizer = Tokenizer.Load(path);
        var template = recipe.Data.ChatTemplate ?? FromPath(recipe.Data.ChatTemplatePath) ?? tokenizer.ChatTemplate ?? ChatTemplate.Zephyr;
        var pad = recipe.Data.PadToken ?? (tokenizer.PadId is null && recipe.Data.EosToken is null ? tokenizer.SpecialTokens.GetValueOrDefault("eos_token") : null);
        return tokenizer.With(recipe.Data.EosToken, pad, template == tokenizer.ChatTemplate ? null : template);
    }

    private static string? FromPath(string? path)
    {
        if (path is null)
            return null;
        if (Directory.Exists(path))
            return Tokenizer.Load(path).ChatTemplate ?? throw new InputException($"chat_template_path: {path} has no chat template", fix: "name a folder whose tokenizer has one, or a .jinja file");
        if (!File.Exists(path))
            throw new InputException($"chat_template_path: {path} does not exist", fix: "name a .jinja file or a model folder");
        return File.ReadAllText(path);
    }
}
