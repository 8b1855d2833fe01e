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
        var models = new Option<string[]>("--model")
        {
            Description = "a model to talk with beside those of the runs; may be repeated",
            HelpName = "FOLDER",
            AllowMultipleArgumentsPerToken = false,
        };
        var preferences = new Option<string?>("--preferences")
        { Description = "file for what is preferred in the playground; without it playground.jsonl in the folder of runs", HelpName = "FILE" };
        var precision = OptionWords.Precision();
        var listen = new ListenWords(6060, "0.0.0.0 lets other machines read all runs, and ask their models, without a key");
        var command = new Command("dashboard", """
            Show runs in a web page while they train: curves, answers, comparisons, rows as the model sees them, recipe, card, lineage; and talk with two models

            The page comes from this program alone and loads nothing from elsewhere. It reads what runs write into their folders and disturbs none. Ctrl-C
            ends it; the runs go on. In the terminal: handbook watch.

            In its playground two models answer side by side, and what you prefer becomes a row of a file that dpo, orpo and their like train on.

            Examples:
              handbook dashboard
              handbook dashboard runs/my-dpo --port 7000
              handbook dashboard runs --model models/base --preferences data/mine.jsonl
              ssh -L 6060:127.0.0.1:6060 my-server     # then open http://127.0.0.1:6060 here
            """)
        {
            folder, models, preferences, precision,
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
                await Console.Error.WriteLineAsync($"warning: whoever reaches {address} can read every run, its recipe and its rows, ask its model, "
                    + "and add rows of preferences");
            await using var server = await DashboardServer.Start(new()
            {
                Folder = place,
                Host = address,
                Port = port,
                Models = [.. (args.GetValue(models) ?? []).Select(name => HubWords.Model(name, cancel))],
                Preferences = args.GetValue(preferences),
                Compute = args.Compute(precision),
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
