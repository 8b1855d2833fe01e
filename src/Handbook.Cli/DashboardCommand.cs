using System.CommandLine;
using System.Net;
using Handbook.Base;
using Handbook.Server.Dashboard;

namespace Handbook.Cli;

/// <summary><c>handbook dashboard [FOLDER]</c></summary>
internal static class DashboardCommand
{
    public static Command Create()
    {
        var folder = new Argument<string>("folder")
        { Description = "output_dir of a run, or a folder of runs", DefaultValueFactory = _ => "runs" };
        var listen = new ListenWords(6060, "0.0.0.0 lets other machines read all runs, without a key");
        var command = new Command("dashboard", """
            Show runs in a web page while they train: curves, comparisons, rows as the model sees them, recipe, card, lineage

            The page comes from this program alone and loads nothing from elsewhere. It reads what runs write into their folders and disturbs none. Ctrl-C
            ends it; the runs go on. In the terminal: handbook watch.

            Examples:
              handbook dashboard
              handbook dashboard runs/my-dpo --port 7000
              ssh -L 6060:127.0.0.1:6060 my-server     # then open http://127.0.0.1:6060 here
            """)
        {
            folder,
        };
        foreach (var option in listen.Options)
            command.Options.Add(option);
        command.SetAction(async (args, cancel) =>
        {
            var place = args.GetRequiredValue(folder);
            var (address, port) = listen.Of(args);
            if (!Directory.Exists(place))
                throw new InputException($"{place} is no folder", fix: "name the output_dir of a run, or a folder of runs");
            if (!IPAddress.IsLoopback(address))
                await Console.Error.WriteLineAsync($"warning: whoever reaches {address} can read every run, its recipe and its rows");
            await using var server = await DashboardServer.Start(new()
            {
                Folder = place,
                Host = address,
                Port = port,
                Say = Console.Error.WriteLine,
            });
            await Console.Out.WriteLineAsync($"open {server.Address} for the runs in {place}; Ctrl-C ends it");
            await Console.Out.FlushAsync(cancel);
            try
            {
                await Task.Delay(Timeout.Infinite, cancel);
            }
            catch (OperationCanceledException)
            {
                // This is how it ends.
            }
            return ExitCode.Ok;
        });
        return command;
    }
}
