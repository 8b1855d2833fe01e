using System.CommandLine;
using Handbook.Recipes;

namespace Handbook.Cli;

/// <summary><c>--method sft</c></summary>
internal static class MethodOption
{
    public static Option<string?> Create() => new("--method") { Description = "sft, cpt, dpo or orpo; otherwise the recipe's path and keys tell", HelpName = "METHOD" };

    /// <summary>The method that was named; null when none was.</summary>
    public static TrainingMethod? Read(ParseResult args, Option<string?> option) => args.GetValue(option) switch
    {
        null => null,
        "sft" => TrainingMethod.Sft,
        "cpt" => TrainingMethod.Cpt,
        "dpo" => TrainingMethod.Dpo,
        "orpo" => TrainingMethod.Orpo,
        var other => throw new InputException($"--method {other} is no method of the handbook", fix: "use sft, cpt, dpo or orpo"),
    };
}
