using System.CommandLine;
using System.Globalization;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Keys;
using Handbook.Cli.Progress;
using Handbook.Data.Mixing;
using Handbook.Hub;
using Handbook.Models;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Plans;
using Handbook.Training.Scale;

namespace Handbook.Cli;

/// <summary><c>handbook plan RECIPE --world 8,64,1024 --network 50GB/s [--key=value]…</c>: what a run would come to on many processes.</summary>
internal static class PlanCommand
{
    private static readonly Option<string?> s_method = MethodOption.Create();
    private static readonly Option<string> s_world = new("--world")
    { Description = "how many processes, one number or several: 8,64,1024", HelpName = "N,…", DefaultValueFactory = _ => "1" };
    private static readonly Option<string?> s_device = new("--device")
    {
        Description = "plan for such devices, one a process, in the place of this machine: " + string.Join(", ", KnownDevice.All.Select(device => device.Name)),
        HelpName = "NAME",
    };
    private static readonly Option<string?> s_network = new("--network")
    {
        Description = "with several processes: what one sends in a second while all do, a host's link divided by the processes on it, e.g. 50GB/s, "
            + "100Gbit/s; without it that of --device within a host",
        HelpName = "SPEED",
    };
    private static readonly Option<string> s_latency = new("--latency")
    { Description = "until a small message arrives", DefaultValueFactory = _ => "20us", HelpName = "TIME" };
    private static readonly Option<double?> s_rate = new("--rate")
    {
        Description = "tokens that one process learns from in a second, alone: train_tokens_per_second of a run on one process; without it "
            + "an estimate for --device, or a step's time is that of its traffic",
        HelpName = "TOKENS/S",
    };
    private static readonly Option<bool> s_calibrate = new("--calibrate")
    { Description = "in the place of --rate: measure for a second how fast this machine multiplies, and estimate" };
    private static readonly Option<bool> s_noRows = new("--no-rows")
    { Description = "do not read the data: rows are taken to be as long as the recipe lets pass" };
    private static readonly Option<string?> s_memory = new("--memory")
    { Description = "memory of one process, the program itself included; what needs more is not chosen", HelpName = "SIZE" };
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
        var command = new Command("plan", "Tell what a recipe comes to: steps, memory and time, on this machine or on others, on one process or many\n\n"
            + "No weights are loaded: a config.json is enough, and of the recipes' models this program has the shapes. The data is read where it is on this machine, and gives the exact number of steps and "
            + "tokens. Where a run does not fit, keys with which it would are listed, and the exit code is 3.\n\n"
            + "  handbook plan recipes/tiny/sft.yaml\n"
            + "  handbook plan recipes/zephyr-7b-beta/sft/config_qlora.yaml --device rtx4090-24g\n"
            + "  handbook plan RECIPE --device h100-80g --world 8\n"
            + "  handbook plan RECIPE --world 8,64,1024 --network 50GB/s --rate 2500 --memory 80GB --simulate")
        {
            RecipeWords.Argument, s_method, s_device, s_world, s_network, s_latency, s_rate, s_calibrate, s_memory, s_config, s_noRows, s_passes,
            s_rowTokens, s_json, s_simulate, s_steps, s_seed, s_spread, s_times, s_stalls, s_linkSpread,
        };
        command.TreatUnmatchedTokensAsErrors = false;       // --max_length=512 and its like: Recipe.Load judges them
        command.SetAction((args, cancel) => Task.Run(() => Run(args, cancel), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult args, CancellationToken cancel)
    {
        string[] own = [.. args.CommandResult.Command.Options.Select(option => option.Name)];
        var (file, overrides) = RecipeWords.Of(args, own);
        if (!Recipe.Load(file, overrides, MethodOption.Read(args, s_method) ?? Recipe.GuessMethod(file, overrides))
            .TryGet(out var recipe, out var diagnostics))
            return ExitCode.BadInput(diagnostics);
        try
        {
            return Run(args, file, overrides, recipe, cancel);
        }
        catch (InputException problem) when (RecipeProbe.IsAbout(recipe, problem))
        {
            RecipeProbe.Explain(recipe, problem, diagnostics, looks: false);
            Console.Error.Write(diagnostics.Problems());
            return ExitCode.UserCanFix;
        }
    }

    private static int Run(ParseResult args, FileInfo file, IReadOnlyList<string> overrides, Recipe recipe, CancellationToken cancel)
    {
        var model = args.GetValue(s_simulate) ? Cluster(args) : null;
        var device = args.GetValue(s_device) is { } named ? KnownDevice.Of(named) : null;
        var asked = Asked(args, device);
        var notes = new List<string>();
        OutputFile.MustBeOfKind("--json", args.GetValue(s_json), "plan", "{\n  \"recipe\"");
        if (recipe.Definition.IsPipeline)
            recipe = Stage(recipe, notes);
        if (model is not null && asked.Rate is null)
            throw new InputException("--simulate without --rate", why: "how much a slow process holds up depends on how long steps take",
                fix: "add --rate TOKENS/S: train_tokens_per_second of a run on one process");
        var described = Described(recipe, args.GetValue(s_config), notes, cancel);
        var rows = args.GetValue(s_noRows) ? [] : Rows(recipe, asked.Worlds, notes, cancel);
        asked = asked with { Rows = rows.Count > 0 ? rows[0] : null };
        var (operations, source) = Speed(args, device, recipe);
        asked = asked with { Operations = operations };
        var plan = ScalePlan.Of(recipe, described, asked);
        notes.AddRange([.. plan.Notes, .. HubWords.Wants(recipe).Where(want => !Tells(notes, want))]);
        var report = new PlanReport(recipe, plan, asked, model) { Runs = rows, Device = device, RateSource = source, Notes = notes };
        if (plan.Rows.All(row => !row.Fits))
            report.Advice = FitAdvice.Of(recipe, asked.Memory!.Value, keys => Again(file, [.. overrides, .. keys], recipe.Method, described, asked));
        report.Write(Console.Out);
        foreach (var note in notes)
            Console.Error.WriteLine($"note: {note}");
        if (args.GetValue(s_json) is { } json)
            WholeFile.WriteText(json, report.ToJson());
        return report.Advice is null ? ExitCode.Ok : ExitCode.DoesNotFit;
    }

    /// <summary>Shows what a run takes that found no more memory, and with which keys it would take less.</summary>
    /// <param name="memory">Bytes of the device; null for this machine.</param>
    /// <returns>Whether there are such keys.</returns>
    /// <exception cref="InputException">The run cannot be planned.</exception>
    internal static bool Explain(FileInfo file, IReadOnlyList<string> overrides, Recipe recipe, long? memory, TextWriter output)
    {
        var asked = new ScaleOptions
        {
            Worlds = [1],
            Network = new(double.PositiveInfinity, 0),
            Memory = memory ?? GC.GetGCMemoryInfo().TotalAvailableMemoryBytes,
            Program = memory is null ? RankMemory.ProgramBytes : KnownDevice.Context,
        };
        var plan = ScalePlan.Of(recipe, null, asked);
        // where the plan would fit, it has missed something: a tenth less of tensors than it says
        var target = Math.Min(asked.Memory.Value, plan.Rows.Min(row => row.Memory.Total - (row.Memory.Total - asked.Program) / 10));
        var report = new PlanReport(recipe, plan, asked, null)
        {
            Advice = FitAdvice.Of(recipe, target, keys => Again(file, [.. overrides, .. keys], recipe.Method, null, asked)),
        };
        report.Write(output);
        return report.Advice.Count > 0;
    }

    /// <summary>What a pipeline trains with.</summary>
    /// <exception cref="InputException">It trains nothing.</exception>
    private static Recipe Stage(Recipe recipe, List<string> notes)
    {
        if (recipe.Rejection.Trains() is not { } method)
            throw new InputException($"{recipe.Path} samples and scores, and trains nothing", "a plan is one of a training", "set train_method: sft");
        notes.Add($"{recipe.MethodName} samples, scores and selects, which is not counted; this is the plan of its training, "
            + $"{RecipeNames.Of(method)} on the answers that are selected");
        return DerivedRecipe.For(recipe, method, recipe.Model.ModelNameOrPath!, recipe.Mixture.Datasets[0].Id, recipe.Training.OutputDir, fresh: false);
    }

    /// <summary>The shape that stands for a model which is not on this machine; null where it is, or the hub has brought its config.json.</summary>
    /// <param name="config">The file that the user named; null for none.</param>
    private static ModelSource? Described(Recipe recipe, string? config, List<string> notes, CancellationToken cancel)
    {
        if (config is not null)
            return ModelSource.Of(config, PublishedConfig.Load(config));
        var paths = RecipePaths.Of(recipe).ToDictionary(path => path.Key, path => path.Path);
        if (paths.TryGetValue("adapter_name_or_path", out var adapter))
            Config("adapter_name_or_path", adapter, cancel);
        var name = paths["model_name_or_path"];
        if (ModelFolder.TryFind(name) is null && KnownShape.Of(recipe) is { } known)
        {
            notes.Add(known.Said);
            return known.Model;
        }
        Config("model_name_or_path", name, cancel);
        return null;
    }

    /// <summary>Brings a model's config.json here where it is not yet; where that fails, another may stand for it.</summary>
    private static void Config(string key, string name, CancellationToken cancel)
    {
        try
        {
            HubFetch.Model(name, key, ModelParts.Config, new ConsoleObserver(), cancel);
            ModelFolder.FindAny(name, key);        // where nothing may be asked for, nothing came
        }
        catch (InputException missing)
        {
            throw new InputException(missing.What, missing.Why, (missing.Fix is { } fix ? fix + "; or " : "")
                + "plan from a config.json of the same shape: --config FILE, such as those in docs/shapes", missing)
            { Key = missing.Key ?? key };
        }
    }

    /// <summary>The least memory of a recipe with more keys, and its operations for a token; null where these keys do not go together.</summary>
    private static (long Memory, double Flops)? Again(FileInfo file, IReadOnlyList<string> overrides, TrainingMethod method,
        ModelSource? described, ScaleOptions asked)
    {
        if (!Recipe.Load(file, overrides, method).TryGet(out var changed, out _))
            return null;
        try
        {
            var rows = asked.Rows is null || changed.Data.MaxTokens is not { } most ? asked.Rows
                : asked.Rows with { Largest = asked.Rows.Largest.AtMost(Math.Max(most, asked.Rows.LongestRow)) };
            var plan = ScalePlan.Of(changed, described, asked with { Rows = rows });
            return (plan.Rows.Min(row => row.Memory.Total), plan.FlopsPerToken);
        }
        catch (InputException)
        {
            return null;
        }
    }

    /// <summary>What a run on each number of processes reads; none where the data or the tokenizer is not here.</summary>
    /// <exception cref="InputException">They are here, and a run could not begin on them.</exception>
    private static IReadOnlyList<RowForecast> Rows(Recipe recipe, IReadOnlyList<int> worlds, List<string> notes, CancellationToken cancel)
    {
        try
        {
            var options = RowPlan.Options(recipe, RowPlan.LoadTokenizer(recipe));
            using var shown = new TokenizingProgress(new ConsoleObserver());
            using var data = TrainingData.Load(options, shown, cancel);
            RunRows.Require(recipe, data);
            return [.. worlds.Select(world =>
            {
                var groups = Math.Max(1, world / recipe.Training.ContextParallelSize);
                return RowForecast.Of(data.Train, RowPlan.Steps(recipe with { BatchProcesses = groups }, data.Train), recipe.Data.TokensAtOnce(), groups,
                    recipe.Definition.Writes(recipe), cancel);
            })];
        }
        // What a run would still bring from the hub may be just what is missing.
        catch (InputException missing) when (missing.IsAbsence || HubWords.Wants(recipe).Any())
        {
            const string consequence = "and rows are taken to be as long as the recipe lets pass";
            notes.Add(Tells(notes, missing.Brief) ? $"steps and tokens of the run are not known without its tokenizer, {consequence}"
                : $"steps and tokens of the run are not known, {consequence}: {missing.Brief}");
            return [];
        }
    }

    /// <summary>Whether a note says what a line says, behind the key that the line begins with.</summary>
    private static bool Tells(List<string> notes, string line) => line[(line.IndexOf(": ", StringComparison.Ordinal) is var at and >= 0 ? at + 2 : 0)..] is var said
        && notes.Exists(note => note.StartsWith(said, StringComparison.Ordinal) || note.EndsWith(line, StringComparison.Ordinal));

    /// <summary>Operations a second of one process, and where that is from; null where the rate itself is given, or nobody says.</summary>
    private static (double? Operations, string? Source) Speed(ParseResult args, KnownDevice? device, Recipe recipe)
    {
        if (args.GetValue(s_calibrate) && (device is not null || args.GetValue(s_rate) is not null))
            throw new InputException($"--calibrate beside {(device is not null ? "--device" : "--rate")}",
                "it measures this machine, and the other already says how fast a process is", "leave one of them out");
        if (args.GetValue(s_rate) is not null)
            return (null, null);
        if (device is not null)
            return (device.Tflops * 1e12 * KnownDevice.UsualShare,
                $"estimated: {KnownDevice.UsualShare:P0} of the {device.Tflops} Tflop/s that its maker states");
        if (!args.GetValue(s_calibrate))
            return (null, null);
        var rate = MachineRate.Measure(recipe.Training.Bf16 ? DType.BFloat16 : DType.Float32);
        return (rate * MachineRate.UsualShare,
            string.Create(CultureInfo.InvariantCulture, $"estimated: {MachineRate.UsualShare:P0} of the {rate / 1e9:0} Gflop/s that products reach here"));
    }

    private static ScaleOptions Asked(ParseResult args, KnownDevice? device)
    {
        int[] worlds = [.. args.GetRequiredValue(s_world).Split(',').Select(text =>
            int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var world) && world is > 0 and <= 65536 ? world
                : throw new InputException($"--world has \"{text}\", but numbers of processes are 1 to 65536", fix: "for example --world 8,64"))];
        var network = args.GetValue(s_network) is { } speed ? Quantity.Speed("--network", speed) : device?.Link
            ?? (worlds.Max() == 1 ? double.PositiveInfinity : throw new InputException("--world asks about several processes, but nothing says how fast they "
                + "exchange", fix: "add --network SPEED, for example --network 50GB/s, or --device NAME"));
        return new()
        {
            Worlds = worlds,
            Network = new(network, Quantity.Seconds("--latency", args.GetValue(s_latency)!)),
            Rate = Positive("--rate", args.GetValue(s_rate)),
            Memory = args.GetValue(s_memory) is { } memory ? (long)Quantity.Bytes("--memory", memory)
                : device?.Memory ?? (worlds is [1] ? GC.GetGCMemoryInfo().TotalAvailableMemoryBytes : null),
            Program = device is not null ? KnownDevice.Context : RankMemory.ProgramBytes,
            Passes = (int?)Positive("--passes", args.GetValue(s_passes)),
            RowTokens = (int?)Positive("--row-tokens", args.GetValue(s_rowTokens)),
        };
    }

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
