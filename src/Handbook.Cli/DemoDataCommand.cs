using System.CommandLine;
using Handbook.Base;
using Handbook.Data.Demo;

namespace Handbook.Cli;

/// <summary><c>handbook demo-data --output DIR [--seed N]</c></summary>
internal static class DemoDataCommand
{
    public static Command Create()
    {
        var output = new Option<string>("--output")
        { Description = "folder for the data; files of an earlier call are replaced", Required = true };
        var seed = new Option<int>("--seed") { Description = "the same seed writes the same data", DefaultValueFactory = _ => 17 };
        var scale = new Option<double>("--scale")
        {
            Description = "share of the usual amount of training rows",
            DefaultValueFactory = _ => 1
        };
        var command = new Command("demo-data",
            "Write the data of the demo: texts about a small world, and conversations with answers that can be checked") { output, seed,
            scale };
        command.SetAction(args =>
        {
            if (args.GetValue(scale) is not (> 0 and <= 100) and var given)
                throw new InputException($"--scale is {given}, but must be greater than 0 and at most 100");
            foreach (var (file, rows) in DemoData.Write(args.GetRequiredValue(output), args.GetValue(seed), args.GetValue(scale)))
                Console.WriteLine($"{file}: {rows} rows");
        });
        return command;
    }
}
