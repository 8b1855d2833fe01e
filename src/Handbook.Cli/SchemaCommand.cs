using System.CommandLine;
using Handbook.Base.Files;
using Handbook.Recipes;

namespace Handbook.Cli;

/// <summary><c>handbook schema [--method sft] [--out FILE]</c>: the keys of recipes for editors.</summary>
internal static class SchemaCommand
{
    public static Command Create()
    {
        var method = MethodOption.Create("otherwise keys of all methods are in it, as in docs/schema/recipe.json");
        var output = new Option<string?>("--out") { Description = "write it to a file", HelpName = "FILE" };
        var command = new Command("schema", "Write the keys of recipes as a JSON schema, with which editors complete and check YAML\n\n"
            + "A recipe names it in its first line:  # yaml-language-server: $schema=FILE") { method, output };
        command.SetAction(args =>
        {
            var schema = RecipeSchema.Write(MethodOption.Read(args, method));
            OutputFile.MustBeOfKind("--out", args.GetValue(output), "schema", "{\n  \"$schema\"");
            if (args.GetValue(output) is { } file)
                WholeFile.WriteText(file, schema);
            else
                Console.Out.Write(schema);
        });
        return command;
    }
}
