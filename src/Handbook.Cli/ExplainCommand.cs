using System.CommandLine;
using Handbook.Recipes;

namespace Handbook.Cli;

/// <summary><c>handbook explain [KEY…] [--method sft] [--markdown]</c>: the reference of recipe keys.</summary>
internal static class ExplainCommand
{
    /// <summary>What the keys are called among the command's arguments.</summary>
    public const string Keys = "key";

    public static Command Create()
    {
        var keys = new Argument<string[]>(Keys) { Description = "keys to explain; without any, all are listed", Arity = ArgumentArity.ZeroOrMore };
        var method = MethodOption.Create("otherwise keys of all methods are explained");
        var markdown = new Option<bool>("--markdown") { Description = "write Markdown tables; of all keys they are docs/recipe-keys.md" };
        var command = new Command("explain", "Explain the keys of recipes: what each is for, its type, default and values")
        {
            keys, method, markdown,
        };
        command.SetAction(args =>
        {
            var named = MethodOption.Read(args, method);
            var some = args.GetValue(keys) ?? [];
            Console.Out.Write(args.GetValue(markdown) ? KeyReference.Markdown(some, named)
                : some.Length > 0 ? string.Concat(some.Select(key => KeyReference.Explain(key, named)))
                : KeyReference.List(named));
        });
        return command;
    }
}
