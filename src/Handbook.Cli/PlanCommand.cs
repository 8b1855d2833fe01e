using System.CommandLine;
using System.Globalization;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Cli.Progress;
using Handbook.Hub;
using Handbook.Recipes;
using Handbook.Training.Methods;
using Handbook.Training.Scale;

namespace Handbook.Cli;

/// <summary><c>handbook plan RECIPE --world 8,64,1024 --network 50GB/s [--key=value]…</c>: what a run would come to on many processes.</summary>
internal static class PlanCommand
{
    private static readonly Option<string?> s_method = MethodOption.Create();
    private static readonly Option<string> s_world = new("--world")
    { Description = "how many processes, one number or several: 8,64,1024", HelpName = "N,…", Required = true };
    private static readonly Option<string> s_network = new("--network")
    {
        Description = "what one process sends in a second while all do: a host's link divided by the processes on it, e.g. 50GB/s, 100Gbit/s",
        HelpName = "SPEED",
        Required = true,
    };
    private static readonly Option<string> s_latency = new("--latency")
    { Description = "until a small message arrives", DefaultValueFactory = _ => "20us", HelpName = "TIME" };
    private static readonly Option<double?> s_rate = new("--rate")
    {
        Description = "tokens that one process learns from in a second, alone: train_tokens_per_second of a run on one process; without it "
            + "a step's time is that of its traffic",
        HelpName = "TOKENS/S",
    };
    private static readonly Option<string?> s_memory = new("--memory")
    { Description = "memory of one process; what needs more is not chosen", HelpName = "SIZE" };
    private static readonly Option<string?> s_config = new("--config")
    { Description = "a config.json in the place of the model's, where that is not on this machine", HelpName = "FILE" };
    private static readonly Option<int?> s_passes = new("--passes")
    { Description = "passes of a process over its rows in a step; without it rows of full length are laid into bins of max_tokens", HelpName = "N" };
    private static readonly Option<int?> s_rowTokens = new("--row-tokens")
    { Description = "tokens of a row; without it the longest that the recipe lets pass", HelpName = "N" };
    private static readonly Option<string?> s_json = new("--json") { Description = "also write everything to a file", HelpName = "FILE" };
    private static readonly Option<bool> s_simulate = new("--simulate")
    { Description = "also simulate steps of processes and links that are not alike; needs --rate" };
    private static readonly Option<int> s_steps = new("--steps")
    { Description = "with --simulate: how many", DefaultValueFactory = _ => 200, HelpName = "N" };
    private static readonly Option<long> s_seed = new("--seed")
    { Description = "with --simulate: of all that is drawn", DefaultValueFactory = _ => 42, HelpName = "N" };
    private static readonly Option<double> s_spread = new("--spread")
    {
        Description = "with --simulate: how a process's time for a step spreads, as the deviation of its logarithm",
        DefaultValueFactory = _ => 0.02,
        HelpName = "X",
    };
    private static readonly Option<string?> s_times = new("--step-times")
    { Description = "with --simulate: in the place of --spread, measured times of steps, one a line in any unit", HelpName = "FILE" };
    private static readonly Option<string?> s_stalls = new("--stalls")
    { Description = "with --simulate: the chance that a process stalls in a step, and by what factor, e.g. 0.001x5", HelpName = "PxF" };
    private static readonly Option<double> s_linkSpread = new("--link-spread")
    { Description = "with --simulate: the same as --spread, of the links' speeds", HelpName = "X" };

    public static Command Create()
    {
        var command = new Command("plan", "Tell what a recipe comes to on many processes: memory, traffic and time, replicated and with ZeRO\n\n"
            + "Nothing is loaded: a config.json is enough.\n\n"
            + "  handbook plan recipes/tiny/sft.yaml --world 2,8 --network 1GB/s\n"
            + "  handbook plan RECIPE --world 8,64,1024 --network 50GB/s --rate 2500 --memory 80GB --simulate")
        {
            RecipeWords.Argument, s_method, s_world, s_network, s_latency, s_rate, s_memory, s_config, s_passes, s_rowTokens, s_json, s_simulate,
            s_steps, s_seed, s_spread, s_times, s_stalls, s_linkSpread,
        };
        command.TreatUnmatchedTokensAsErrors = false;       // --max_length=512 and its like: Recipe.Load judges them
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult args)
    {
        string[] own = [.. args.CommandResult.Command.Options.Select(option => option.Name)];
        var (file, overrides) = RecipeWords.Of(args, own);
        if (!Recipe.Load(file, overrides, MethodOption.Read(args, s_method) ?? Recipe.GuessMethod(file, overrides))
            .TryGet(out var recipe, out var diagnostics))
            return ExitCode.BadInput(diagnostics);
        var model = args.GetValue(s_simulate) ? Cluster(args) : null;
        var asked = Asked(args);
        // A pipeline is planned as what it trains with.
        if (recipe.Definition.IsPipeline)
            throw new InputException($"{recipe.MethodName} runs as one process", fix: "plan the recipe of the method that it trains with");
        if (model is not null && asked.Rate is null)
            throw new InputException("--simulate without --rate", why: "how much a slow process holds up depends on how long steps take",
                fix: "add --rate TOKENS/S: train_tokens_per_second of a run on one process");
        if (args.GetValue(s_config) is null)
            foreach (var (key, name) in RecipePaths.Of(recipe).Where(path => path.Key is "model_name_or_path" or "adapter_name_or_path"))
                HubFetch.Model(name, key, ModelParts.Config, new ConsoleObserver(), CancellationToken.None);
        var report = new PlanReport(recipe, ScalePlan.Of(recipe, args.GetValue(s_config), asked), asked, model);
        report.Write(Console.Out);
        foreach (var note in report.Notes.Concat(HubWords.Wants(recipe)))
            Console.Error.WriteLine($"note: {note}");
        if (args.GetValue(s_json) is { } json)
            WholeFile.WriteText(json, report.ToJson());
        return ExitCode.Ok;
    }

    private static ScaleOptions Asked(ParseResult args) => new()
    {
        Worlds = [.. args.GetRequiredValue(s_world).Split(',').Select(text =>
            int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var world) && world is > 0 and <= 65536 ? world
                : throw new InputException($"--world has \"{text}\", but numbers of processes are 1 to 65536", fix: "for example --world 8,64"))],
        Network = new(Quantity.Speed("--network", args.GetRequiredValue(s_network)), Quantity.Seconds("--latency", args.GetValue(s_latency)!)),
        Rate = Positive("--rate", args.GetValue(s_rate)),
        Memory = args.GetValue(s_memory) is { } memory ? (long)Quantity.Bytes("--memory", memory) : null,
        Passes = (int?)Positive("--passes", args.GetValue(s_passes)),
        RowTokens = (int?)Positive("--row-tokens", args.GetValue(s_rowTokens)),
    };

    private static ClusterModel Cluster(ParseResult args)
    {
        var model = new ClusterModel
        {
            Steps = (int)Positive("--steps", args.GetValue(s_steps))!.Value,
            Seed = args.GetValue(s_seed),
            Spread = args.GetValue(s_spread),
            LinkSpread = args.GetValue(s_linkSpread),
            Measured = args.GetValue(s_times) is { } file ? Times(file) : [],
        };
        if (args.GetValue(s_stalls) is not { } stalls)
            return model;
        return stalls.Split('x') is [var chance, var factor]
            && double.TryParse(chance, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var p) && p <= 1
            && double.TryParse(factor, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var f) && f >= 1
            ? model with { StallChance = p, StallFactor = f }
            : throw new InputException($"--stalls is \"{stalls}\", but must be a chance and a factor", fix: "for example --stalls 0.001x5");
    }

    private static double[] Times(string file)
    {
        if (!File.Exists(file))
            throw new InputException($"--step-times: {file} does not exist", fix: "name a file with the seconds of a step on each line");
        double[] times = [.. File.ReadLines(file).Select(line => line.Trim()).Where(line => line.Length > 0).Select((line, at) =>
            double.TryParse(line, NumberStyles.Float, CultureInfo.InvariantCulture, out var time) && time > 0 ? time
                : throw new InputException($"{file}: \"{line}\" is not a time", fix: "write one number greater than 0 on each line"))];
        return times.Length > 0 ? times : throw new InputException($"{file} holds no times", fix: "write the seconds of a step on each line");
    }

    private static double? Positive(string option, double? value) => value is <= 0
        ? throw new InputException($"{option} is {value}, but must be greater than 0", fix: $"for example {option} 1000") : value;
}
