using System.CommandLine;
using Handbook.Base;
using Handbook.Recipes;

namespace Handbook.Cli;

/// <summary><c>handbook recipes [NAME] [--folder DIR]</c>: the recipes that there are, and what one of them does.</summary>
internal static class RecipesCommand
{
    public static Command Create()
    {
        var name = new Argument<string?>("name")
        { Description = "a recipe, or the beginning of its name; without it all are listed", Arity = ArgumentArity.ZeroOrOne };
        var folder = new Option<string?>("--folder")
        { Description = "a folder of recipes; otherwise recipes in the working folder, else that of the program", HelpName = "DIR" };
        var markdown = new Option<bool>("--markdown") { Description = "write a Markdown table; of all it is a part of docs/recipes.md" };
        var command = new Command("recipes", "List the recipes that there are, or show one: method, model, data, weights, rows a step\n\n"
            + "  handbook recipes zephyr-7b-beta\n  handbook recipes zephyr-7b-beta/dpo/config_qlora") { name, folder, markdown };
        command.SetAction(args => Run(args.GetValue(name), args.GetValue(folder) ?? Usual(), args.GetValue(markdown)));
        return command;
    }

    private static string Usual()
    {
        if (Directory.Exists("recipes"))
            return "recipes";
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "recipes", "launch.slurm")))
                return Path.Combine(folder.FullName, "recipes");
        throw new InputException("there is no folder recipes here", fix: "handbook recipes --folder DIR");
    }

    private static int Run(string? name, string folder, bool markdown)
    {
        var all = ListedRecipe.In(folder);
        // As a path, as one part of it, or as the beginning.
        var asked = name?.Replace('\\', '/');
        if (asked is not null && asked.StartsWith(folder.TrimEnd('/') + "/", StringComparison.Ordinal))
            asked = asked[(folder.TrimEnd('/').Length + 1)..];
        asked = asked is not null && asked.EndsWith(".yaml", StringComparison.Ordinal) ? asked[..^".yaml".Length] : asked;
        IReadOnlyList<ListedRecipe> found = asked is null ? all
            : all.Where(recipe => recipe.Name == asked).ToArray() is { Length: > 0 } exact
            ? exact : [.. all.Where(recipe => recipe.Name.StartsWith(asked, StringComparison.OrdinalIgnoreCase))];
        if (found.Count == 0)
            throw new InputException(name is null ? $"{folder} has no recipes" : $"{folder} has no recipe {name}",
                fix: name is null ? "name a folder of recipes with --folder"
                    : Spelling.Nearest(asked!, all.SelectMany(recipe => (string[])[recipe.Name, recipe.Name.Split('/')[0]])) is { } near
                        ? $"did you mean {near}?" : "`handbook recipes` lists all");
        if (markdown)
            Console.Out.Write(RecipesReport.Markdown(found));
        else if (asked is not null && found is [var only])
            Console.Out.Write(RecipesReport.Of(only));
        else
            Console.Out.Write(RecipesReport.List(found));
        return ExitCode.Ok;
    }
}
