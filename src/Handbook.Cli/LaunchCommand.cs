using System.CommandLine;
using System.CommandLine.Parsing;
using Handbook.Base;
using Handbook.Launch;
using Handbook.Recipes;

namespace Handbook.Cli;

/// <summary><c>handbook launch</c>: the same command as several processes, on one host or many.</summary>
internal static class LaunchCommand
{
    private static readonly Option<int?> s_processes = new("--nproc-per-node", "--nproc_per_node")
    {
        Description = "Processes on this host",
        HelpName = "N",
    };

    private static readonly Option<int?> s_all = new("--num_processes", "--num-processes")
    {
        Description = "Processes on all hosts, another way to say it",
        HelpName = "N",
    };

    private static readonly Option<int?> s_nodes = new("--nnodes", "--num_machines") { Description = "Hosts; 1 by default", HelpName = "M" };

    private static readonly Option<int?> s_rank = new("--node-rank", "--node_rank", "--machine_rank")
    {
        Description = "Which of the hosts this is, from 0",
        HelpName = "R",
    };

    private static readonly Option<string?> s_endpoint = new("--rdzv-endpoint", "--rdzv_endpoint")
    {
        Description = "Where they meet: name or address of host 0, and a free port there",
        HelpName = "HOST:PORT",
    };

    private static readonly Option<string?> s_address = new("--master-addr", "--master_addr", "--main_process_ip")
    {
        Description = "The host of the endpoint by itself",
        HelpName = "HOST",
    };

    private static readonly Option<int?> s_port = new("--master-port", "--master_port", "--main_process_port")
    {
        Description = "Its port by itself",
        HelpName = "PORT",
    };

    private static readonly Option<int?> s_restarts = new("--max-restarts", "--max_restarts")
    {
        Description = "Start all again from the newest checkpoint after a failure, so many times; 0 by default",
        HelpName = "K",
    };

    private static readonly Option<int?> s_threads = new("--num_cpu_threads_per_process")
    {
        Description = "Threads of each process; by default the cores are shared out",
        HelpName = "N",
    };

    private static readonly Option<string?> s_logs = new("--log-dir", "--log_dir")
    {
        Description = "Where the other ranks print to, a file each",
        HelpName = "DIR",
    };

    private static readonly Option<string?> s_file = new("--config_file", "--config-file")
    {
        Description = "A launcher's file of the Python handbook, such as recipes/accelerate_configs/zero3.yaml; options go before it",
        HelpName = "FILE",
    };

    // Given behind the recipe, too, these are its keys there: the program as a whole sees both.
    private static readonly Option<string[]> s_accumulation = new("--gradient_accumulation_steps", "--gradient-accumulation-steps")
    {
        Description = "As the Python launcher is told it; has to be what the recipe says",
        HelpName = "N",
    };

    private static readonly Option<string[]> s_stage = new("--zero_stage", "--zero-stage")
    {
        Description = "What the processes share out among them, as the recipe's key of that name; the recipe's own value wins",
        HelpName = "0-3",
    };

    private static readonly Argument<string[]> s_command = new("command")
    {
        Description = "What to start, e.g. sft recipes/tiny/sft.yaml --max_steps=100",
        Arity = ArgumentArity.ZeroOrMore,
    };

    public static Command Create()
    {
        var command = new Command("launch", "Run a training command, or evaluate, as several processes, on one host or many\n\n"
            + "The batch of a step is per_device_train_batch_size x gradient_accumulation_steps x processes; its rows are shared out by their "
            + "length. Under torchrun or srun a command joins by itself, without launch.\n\n"
            + "  handbook launch --nproc-per-node 2 sft recipes/tiny/sft.yaml\n"
            + "  handbook launch --nproc-per-node 2 evaluate runs/tiny-sft --task gsm8k\n"
            + "  handbook launch --nnodes 2 --node-rank 0 --rdzv-endpoint node0:29500 --nproc-per-node 8 dpo RECIPE     on the first host")
        {
            s_processes, s_all, s_nodes, s_rank, s_endpoint, s_address, s_port, s_restarts, s_threads, s_logs, s_file, s_accumulation, s_stage,
            s_command,
        };
        command.TreatUnmatchedTokensAsErrors = false;
        command.SetAction(_ => Run(command, [.. Program.Words.SkipWhile(word => word != "launch").Skip(1)]));
        return command;
    }

    /// <summary>The words behind <c>launch</c>, cut where what is launched begins: the first that is no option of the launcher.</summary>
    /// <param name="notes">Hears of options that have no effect here; those are left out.</param>
    internal static (string[] Own, string[] Started) Split(Command command, string[] words, Action<string> notes)
    {
        List<string> own = [];
        var at = 0;
        while (at < words.Length && words[at].StartsWith("--", StringComparison.Ordinal))
        {
            var name = words[at].Split('=')[0];
            var isFlag = LauncherOptions.Contains(name[2..]) && !LauncherOptions.TakesValue(name[2..]);
            var next = at + (isFlag || words[at].Contains('=') ? 1 : 2);
            if (Find(command, name) is not null)
                own.AddRange(words[at..Math.Min(next, words.Length)]);
            else if (LauncherOptions.Contains(name[2..]) && LauncherOptions.Here(name[2..]) is null)
                notes($"{name} has no effect here");
            else
                throw new InputException($"launch has no option {name}",
                    why: LauncherOptions.Here(name[2..]) is { } here ? $"it is {here} here" : null,
                    fix: "options of the launcher stand before the command that it starts, keys of the recipe behind it");
            at = next;
        }
        return ([.. own], at >= words.Length ? [] : words[at..]);
    }

    private static int Run(Command command, string[] words)
    {
        List<string> notes = [];
        var (own, started) = Split(command, words, notes.Add);
        if (started.Length == 0)
            throw new InputException("launch has nothing to start", fix: "handbook launch --nproc-per-node 2 sft RECIPE");
        if (!TrainCommand.Names.Contains(started[0]) && started[0] != EvaluateCommand.Name)
            throw OldWords.IsScript(started[0]) ? OldWords.Explain(["accelerate", "launch", .. words])!
                : new InputException($"launch cannot start `{started[0]}` as several processes",
                    why: started[0] == "reproduce" ? ReproduceCommand.Alone
                        : $"{EvaluateCommand.Name} can be, and those that train: {string.Join(", ", TrainCommand.Names)}",
                    fix: $"handbook {string.Join(' ', started)}");
        var parsed = command.Parse(own, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parsed.Errors.Count > 0)
            throw new InputException(parsed.Errors[0].Message, fix: "`handbook launch --help` shows what it takes");
        var plan = Plan(parsed);
        notes.AddRange(plan.Notes);
        if (started[0] == EvaluateCommand.Name)
            notes.AddRange(plan.Expected.Select(expected => expected.Where).Concat(plan.Keys.Select(key => key.Where))
                .Select(word => $"{word} has no effect on {EvaluateCommand.Name}: it has no recipe"));
        else
            started = [.. started, .. Keys(plan, started, notes)];
        using var launcher = new Launcher(plan with { Notes = notes },
            [Environment.ProcessPath!, "exec", typeof(Program).Assembly.Location, .. started], Console.Error.WriteLine);
        return launcher.Run();
    }

    /// <summary>What the launcher was told that are keys of the recipe.</summary>
    private static string[] Keys(LaunchPlan plan, string[] started, List<string> notes)
    {
        var recipe = RecipeOf(started);
        if (recipe is not null)
            notes.AddRange(plan.Expected.Select(expected => expected.Compare(recipe)).OfType<string>());
        return [.. plan.Keys.Select(key => key.Word(recipe, notes.Add)).OfType<string>()];
    }

    // A recipe that cannot be read is left to the command, which says what is wrong with it.
    private static Recipe? RecipeOf(string[] started)
    {
        var (file, overrides) = RecipeArguments.Split(started[1..]);
        return file is not null
            && Recipe.Load(new FileInfo(file), overrides, Recipe.MethodNamed(started[0])!.Value).TryGet(out var recipe, out _) ? recipe : null;
    }

    private static LaunchPlan Plan(ParseResult args)
    {
        var plan = new LaunchPlan();
        if (args.GetValue(s_file) is { } file)
            plan = AccelerateFile.Read(file, plan);
        plan = plan with
        {
            Nodes = args.GetValue(s_nodes) ?? plan.Nodes,
            NodeRank = args.GetValue(s_rank) ?? plan.NodeRank,
            Address = args.GetValue(s_address) ?? plan.Address,
            Port = args.GetValue(s_port) ?? plan.Port,
            Restarts = args.GetValue(s_restarts) ?? plan.Restarts,
            Threads = args.GetValue(s_threads) ?? plan.Threads,
            LogFolder = args.GetValue(s_logs) ?? plan.LogFolder,
            Total = args.GetValue(s_all) ?? plan.Total,
        };
        if (args.GetValue(s_accumulation) is [.., var steps])
            plan = plan with { Expected = [.. plan.Expected, new("--gradient_accumulation_steps", "gradient_accumulation_steps", steps)] };
        if (args.GetValue(s_stage) is [.., var stage])
            plan = plan with
            {
                Keys = [.. plan.Keys.Where(key => key.Key != "zero_stage"), new("--zero_stage", "zero_stage", stage, Yields: true)],
            };
        if (args.GetValue(s_endpoint) is { } endpoint)
            plan = plan.At(endpoint);
        return args.GetValue(s_processes) is { } here ? plan with { Processes = here, Total = null } : plan.Shared();
    }

    private static Option? Find(Command command, string name) =>
        command.Options.FirstOrDefault(option => option.Name == name || option.Aliases.Contains(name));
}
