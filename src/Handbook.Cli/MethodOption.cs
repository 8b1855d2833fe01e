using System.CommandLine;
using Handbook.Base;
using Handbook.Recipes;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary><c>--method sft</c></summary>
internal static class MethodOption
{
    /// <param name="otherwise">What holds where no method is named.</param>
    public static Option<string?> Create(string otherwise = "otherwise the recipe's path and keys tell") =>
        new("--method")
        {
            Description = $"{string.Join(", ", Recipe.MethodNames)}; {otherwise}",
            HelpName = "METHOD"
        };

    /// <summary>The method that was named; null when none was.</summary>
    public static TrainingMethod? Read(ParseResult args, Option<string?> option) => args.GetValue(option) switch
    {
        null => null,
        var name => Recipe.MethodNamed(name) ?? throw new InputException($"--method {name} is no method of the handbook",
            fix: $"use one of {string.Join(", ", Recipe.MethodNames)}"),
    };
}
