using System.CommandLine;
using Handbook.Torch.Devices;
using Handbook.Training.Plans;

namespace Handbook.Cli;

/// <summary><c>handbook info</c></summary>
internal static class InfoCommand
{
    public static Command Create()
    {
        var command = new Command("info", "Tell what this machine computes with: libraries, devices, what is there and what is missing\n\n"
            + "A libtorch is taken from LIBTORCH, from Python's torch, or from the system; one that was built for GPUs is found the same way.");
        command.SetAction(_ => Run());
        return command;
    }

    private static int Run()
    {
        var all = Installation.Describe();
        List<Installation.Entry> entries = [.. all.Take(all.Count - 1), new("computed on a GPU", DevicePlan.Covered),
            new("on the CPU alone", DevicePlan.LeftOut), all[^1]];      // how far that is proven stands last
        var width = entries.Max(entry => entry.Topic.Length) + 2;
        foreach (var (topic, text) in entries)
            Console.WriteLine(topic.PadRight(width) + text);
        return ExitCode.Ok;
    }
}
