using System.CommandLine;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Cli.Progress;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Evaluation;
using Handbook.Text.Templates;
using Handbook.Torch;
using Handbook.Training.Distributed;
using Handbook.Training.Progress;

namespace Handbook.Cli;

/// <summary><c>handbook evaluate MODEL --task NAME|FILE … [--output FOLDER]</c></summary>
internal static class EvaluateCommand
{
    /// <summary>The command's name: it may be run as several processes.</summary>
    public const string Name = "evaluate";

    private static readonly ModelWords _model = new("folder of the model");
    private static readonly Option<string[]> _task = new("--task", "-t")
    { Description = "a built-in task or a task file (YAML); may be repeated", HelpName = "NAME|FILE" };
    private static readonly Option<bool> _list = new("--list") { Description = "list the built-in tasks" };
    private static readonly Option<string[]> _data = new("--data")
    { Description = "read a task's rows from here, e.g. --data gsm8k=test.jsonl; may be repeated", HelpName = "TASK=FILE" };
    private static readonly Option<string[]> _description = new("--description")
    {
        Description = "what stands before every question of a task, from a text file, instead of its own description; may be repeated",
        HelpName = "TASK=FILE"
    };
    private static readonly Option<string?> _output = new("--output", "-o")
    {
        Description = "write results.json and every row's answer (samples/TASK.jsonl) into this folder; the same command goes on where it "
            + "was stopped",
        HelpName = "FOLDER"
    };
    private static readonly Option<int?> _limit = new("--limit") { Description = "use only so many rows of each task", HelpName = "N" };
    private static readonly Option<int?> _fewShot = new("--num-fewshot")
    { Description = "examples before each question; without it as the task says", HelpName = "N" };
    private static readonly Option<int?> _count = new("--num-generations", "-n")
    { Description = "answers to each prompt; without it as the task says", HelpName = "N" };
    private static readonly Option<double?> _temperature = new("--temperature")
    { Description = "of answers; without it as the task says", HelpName = "T" };
    private static readonly Option<long> _seed = new("--seed")
    { Description = "decides drawn examples, answers and resampled intervals", DefaultValueFactory = _ => 1234 };
    private static readonly Option<int> _batch = new("--batch-size")
    { Description = "answers that are worked on at once", DefaultValueFactory = _ => 16 };
    private static readonly Option<int> _maxTokens = new("--max-tokens")
    { Description = "most tokens that are scored at once", DefaultValueFactory = _ => 4096, HelpName = "N" };
    private static readonly Option<int?> _maxLength = new("--max-length")
    {
        Description = "most tokens of a question with its answer, and of a window of perplexity; without it what the model was made for",
        HelpName = "N"
    };
    private static readonly Option<bool> _chat = new("--apply-chat-template")
    { Description = "ask through the model's chat template, each question as what a user says" };
    private static readonly Option<bool> _allowCode = new("--allow-code")
    { Description = "run code that the model writes, in a sandbox (Linux)" };
    private static readonly Option<string> _dtype = OptionWords.Precision();
    private static readonly Option<bool> _useCpu = OptionWords.UseCpu();

    public static Command Create()
    {
        _model.Model.Arity = ArgumentArity.ZeroOrOne;
        var command = new Command(Name, """
            Measure a model on tasks: perplexity, choices, answers, code, rewards

            Tasks are built in, or files in the YAML form of the Python evaluation harness. Every number comes with its interval of 95 %.

            Examples:
              handbook evaluate --list
              handbook evaluate runs/tiny-sft --task perplexity --data perplexity=data/tiny/text/test.jsonl
              handbook evaluate runs/tiny-sft --task gsm8k --data gsm8k=test.jsonl --limit 100 --output runs/tiny-sft/eval
              handbook evaluate runs/tiny-reward --task reward_accuracy --data reward_accuracy=data/tiny/preferences/test.jsonl
              handbook launch --nproc-per-node 2 evaluate runs/tiny-sft --task gsm8k --data gsm8k=test.jsonl
            """)
        {
            _model.Model, _task, _list, _data, _description, _output, _limit, _fewShot, _count, _temperature, _seed, _batch, _maxTokens,
            _maxLength, _chat, _allowCode, _dtype, _useCpu,
        };
        _model.AddTo(command);
        // Every tensor lives on the worker's thread; this one stays free to hear Ctrl-C.
        command.SetAction((args, cancel) => Task.Run(() => Run(args, cancel), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult args, CancellationToken cancel)
    {
        if (args.GetValue(_list))
            return List();
        if (Rendezvous.FromEnvironment() is not { WorldSize: > 1 } place)
            return Run(args, new ConsoleObserver(), Workers.Alone, cancel);
        using var job = RankWords.Join(place, cancel);
        try
        {
            IWorkObserver observer = place.Rank == 0 ? new ConsoleObserver() : RunObservers.None;
            observer.Said(RankWords.Described(job));
            return Run(args, observer, job.Workers, cancel);
        }
        catch (Exception failure) when (failure is not RankFailedException and not OperationCanceledException)
        {
            job.Watch.Report(failure);
            throw;
        }
    }

    private static int Run(ParseResult args, IWorkObserver observer, Workers workers, CancellationToken cancel)
    {
        if (args.GetValue(_model.Model) is null)
            throw new InputException("no model is named", fix: "handbook evaluate MODEL --task NAME; `handbook evaluate --list` shows the tasks");
        var named = args.GetValue(_task) ?? [];
        if (named.Length == 0)
            throw new InputException("no task is named", fix: "add --task NAME; `handbook evaluate --list` shows them");
        var tasks = named.Select(word => BuiltInTasks.Find(word, observer.Said)).ToList();
        foreach (var word in args.GetValue(_data) ?? [])
            Use(word, tasks);
        foreach (var word in args.GetValue(_description) ?? [])
            Describe(word, tasks);
        var options = new EvaluationOptions
        {
            Model = workers.FirstOnHost(() => _model.Source(args)),
            Tasks = tasks,
            Output = args.GetValue(_output),
            Limit = args.GetValue(_limit),
            FewShot = args.GetValue(_fewShot),
            Repeats = args.GetValue(_count),
            Temperature = args.GetValue(_temperature),
            Seed = args.GetValue(_seed),
            BatchSize = args.GetValue(_batch),
            MaxTokens = args.GetValue(_maxTokens),
            MaxLength = args.GetValue(_maxLength),
            Chat = args.GetValue(_chat),
            AllowCode = args.GetValue(_allowCode),
            Compute = args.Compute(_dtype),
            Where = args.Wish(_useCpu, workers.LocalRank),
            Bring = spec => HubWords.Rows(spec, cancel),
            CommandLine = Program.CommandLine,
            Observer = observer,
            Workers = workers,
        };
        try
        {
            var results = EvaluationRun.Run(options, cancel);
            if (workers.IsFirst)
                foreach (var line in EvaluationReport.Table(results))
                    Console.Out.WriteLine(line);
        }
        catch (OperationCanceledException) when (options.Output is { } folder)
        {
            observer.Said($"interrupted: what is done is kept in {Path.Combine(folder, "samples")}, and the same command goes on from there");
            throw;
        }
        return ExitCode.Ok;
    }

    private static int List()
    {
        var width = BuiltInTasks.Names.Max(name => name.Length);
        foreach (var name in BuiltInTasks.Names)
            Console.Out.WriteLine($"{name.PadRight(width)}  {BuiltInTasks.Find(name, _ => { }).About}");
        return ExitCode.Ok;
    }

    private static (int Place, string Path) Named(string option, string word, List<EvaluationTask> tasks, string example)
    {
        if (word.Split('=', 2) is not [{ Length: > 0 } name, { Length: > 0 } path])
            throw new InputException($"{option} {word} is not understood", fix: $"write {option} TASK=FILE, e.g. {option} {example}");
        var place = tasks.FindIndex(task => task.Name == name);
        return place >= 0 ? (place, path) : throw new InputException($"{option} names the task {name}, which is not evaluated",
            fix: $"name one of {string.Join(", ", tasks.Select(task => task.Name))}");
    }

    private static void Describe(string word, List<EvaluationTask> tasks)
    {
        var (place, path) = Named("--description", word, tasks, "truthfulqa_mc1=examples.txt");
        if (!File.Exists(path))
            throw new InputException($"--description {word}: {path} is not there", fix: "name a text file");
        var text = File.ReadAllText(path);
        try
        {
            tasks[place] = tasks[place] with { Description = new("--description", text, ChatTemplate.ParseText(text, path)) };
        }
        catch (TemplateException wrong)
        {
            throw new InputException($"--description {word}: {wrong.What}", wrong.Why, wrong.Fix, wrong);
        }
    }

    private static void Use(string word, List<EvaluationTask> tasks)
    {
        var (place, path) = Named("--data", word, tasks, "gsm8k=test.jsonl");
        var before = tasks[place];
        var isFile = DataFile.FormatOf(path) is not null;
        // One file has one split; a folder may have the task's own.
        var data = new DatasetSpec
        {
            Id = path,
            Split = isFile ? "train" : before.Data?.Split ?? "train",
            TextUnit = before.Data?.TextUnit ?? (before.Kind == TaskKind.LoglikelihoodRolling && DataFile.FormatOf(path) == DataFormat.Text
                ? TextUnit.Document : TextUnit.Line),
        };
        tasks[place] = before with
        {
            Data = data,
            FewShotData = isFile || before.FewShotData is null ? null : before.FewShotData with { Id = path, Config = null },
            Folder = null,
        };
    }
}
