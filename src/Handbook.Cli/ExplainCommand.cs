using System.CommandLine;
using Handbook.Recipes;

namespace Handbook.Cli;

/// <summary><c>handbook explain [KEY…] [--method sft] [--markdown]</c>: the reference of recipe keys.</summary>
internal static class ExplainCommand
{
    public static Command Create()
    {
        var keys = new Argument<string[]>("key") { Description = "keys to explain; none lists all", Arity = ArgumentArity.ZeroOrMore };
        var method = MethodOption.Create();
        var markdown = new Option<bool>("--markdown") { Description = "the whole reference as Markdown, as in docs/recipe-keys.md" };
        var command = new Command("explain", "Explain recipe keys: type, default, meaning") { keys, method, markdown };
        command.SetAction(args =>
        {
            var named = MethodOption.Read(args, method);
            Console.Out.Write(args.GetValue(markdown) ? KeyReference.Markdown()
                : args.GetValue(keys) is { Length: > 0 } some ? string.Concat(some.Select(KeyReference.Explain))
                : KeyReference.List(named));
        });
        return command;
    }
}
