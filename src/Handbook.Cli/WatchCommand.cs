using System.CommandLine;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Watching;

namespace Handbook.Cli;

/// <summary><c>handbook watch RUN [RUN …]</c></summary>
internal static class WatchCommand
{
    public static Command Create()
    {
        var runs = new Argument<string[]>("run")
        { Description = "output_dir of a run, or a folder of runs", Arity = ArgumentArity.OneOrMore };
        var metric = new Option<string>("--metric", "-m")
        { Description = "what is drawn, with its eval_ counterpart", DefaultValueFactory = _ => "loss", HelpName = "NAME" };
        var once = new Option<bool>("--once") { Description = "show how the runs stand and end" };
        var interval = new Option<double>("--interval")
        { Description = "seconds between two looks", DefaultValueFactory = _ => 1, HelpName = "SECONDS" };
        var command = new Command("watch", """
            Watch runs in the terminal: curves, every logged number, speed, time left

            Reads what a run writes into its folder, so it watches runs of any process, also of another machine on a shared disk, and disturbs none. It
            ends when no run trains any more; q or Ctrl-C ends it before, the runs go on. Several runs are drawn over one another. Where the output is no
            terminal, a line is printed for each step that was logged.

            Examples:
              handbook watch runs/my-sft
              handbook watch runs --metric rewards/margins
              handbook watch runs/a runs/b --once
            """)
        {
            runs, metric, once, interval,
        };
        command.SetAction((args, cancel) => Task.Run(() =>
        {
            var wait = args.GetValue(interval);
            if (!(wait >= 0.1 && wait <= 3600))
                throw new InputException($"--interval is {wait}, but must lie between 0.1 and 3600 seconds", fix: "use 1");
            string[] folders = [.. args.GetRequiredValue(runs).SelectMany(RunView.Find).DistinctBy(Path.GetFullPath)];
            Watch(folders, args.GetRequiredValue(metric), args.GetValue(once), TimeSpan.FromSeconds(wait), cancel);
            return ExitCode.Ok;
        }, CancellationToken.None));
        return command;
    }

    private static void Watch(string[] folders, string metric, bool once, TimeSpan interval, CancellationToken cancel)
    {
        var terminal = !Console.IsOutputRedirected && Environment.GetEnvironmentVariable("TERM") is not ("dumb" or "");
        var line = new LiveLine(Console.Out, terminal);
        var screen = new RunScreen(line);
        var views = Array.ConvertAll(folders, RunView.Read);
        var live = terminal && !once && views.Any(IsTraining);
        try
        {
            if (live)
                Console.Out.Write("\e[?1049h\e[?25l");        // another screen without a cursor
            for (RunView[]? earlier = null; ;)
            {
                if (live)
                    Show(Lines(views, live));
                else if (!once && !terminal)
                    for (var i = 0; i < views.Length; i++)
                        if (earlier is null || views[i].Step != earlier[i].Step || views[i].Standing != earlier[i].Standing)
                            Console.Out.WriteLine(RunScreen.Line(views[i], metric));
                if (once || !views.Any(IsTraining) || Waited(interval, live, cancel))
                    break;
                earlier = views;
                views = [.. folders.Zip(earlier, (folder, before) => RunView.Read(folder).Since(before))];
            }
        }
        finally
        {
            if (live)
                Console.Out.Write("\e[?25h\e[?1049l");
        }
        if (terminal || once)
            foreach (var text in Lines(views, false))
                Console.Out.WriteLine(text);

        IReadOnlyList<string> Lines(RunView[] runs, bool fits) => runs is [var only]
            ? screen.One(only, metric, fits ? Math.Max(20, Console.WindowHeight - 1) : null) : screen.Several(runs, metric);
    }

    private static bool IsTraining(RunView view) => view.Standing == RunStanding.Training;

    // Line by line over what stands there, so that nothing flickers.
    private static void Show(IReadOnlyList<string> lines) =>
        Console.Out.Write("\e[H" + string.Concat(lines.Select(text => $"{text}\e[K\n")) + "\e[J");

    /// <summary>Waits; true where somebody wants to leave.</summary>
    private static bool Waited(TimeSpan interval, bool keys, CancellationToken cancel)
    {
        for (var end = DateTime.UtcNow + interval; DateTime.UtcNow < end;)
        {
            if (cancel.WaitHandle.WaitOne(TimeSpan.FromMilliseconds(50)))
                return true;
            if (keys && !Console.IsInputRedirected && Console.KeyAvailable && Console.ReadKey(intercept: true).Key is ConsoleKey.Q or ConsoleKey.Escape)
                return true;
        }
        return false;
    }
}
