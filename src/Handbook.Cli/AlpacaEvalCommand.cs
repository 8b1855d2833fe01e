using System.CommandLine;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Evaluation.Judging;
using Handbook.Models;
using Handbook.Training.Plans;
using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Scorers;

namespace Handbook.Cli;

/// <summary><c>handbook alpaca-eval [MODEL] --reference FILE --output FOLDER</c>, <c>handbook alpaca-eval --annotations FILE</c></summary>
internal static class AlpacaEvalCommand
{
    public static Command Create()
    {
        var model = new Argument<string?>("model")
        { Description = "folder of a chat model that answers; leave it out with --outputs", Arity = ArgumentArity.ZeroOrOne };
        var outputs = new Option<string?>("--outputs") { Description = "answers that are there, as model_outputs.json", HelpName = "FILE" };
        var reference = new Option<string?>("--reference")
        { Description = "answers that are compared with, as model_outputs.json; their instructions are the questions", HelpName = "FILE" };
        var annotations = new Option<string?>("--annotations")
        { Description = "only measure comparisons that are there, as annotations.json", HelpName = "FILE" };
        var reward = new Option<string?>("--reward-model") { Description = "compare by the scores of a reward model", HelpName = "FOLDER" };
        var weighted = new Option<bool>("--weighted")
        {
            Description = "the judge answers with one letter, m or M, and its probability is the preference, as AlpacaEval 2's "
                + "weighted_alpaca_eval_gpt4_turbo; the endpoint has to give top_logprobs"
        };
        var control = new Option<string?>("--length-control")
        {
            Description = "df_gamed.csv of the data set tatsu-lab/alpaca_eval, which the published length-controlled win rate needs; without it "
                + "the variant length_controlled_minimal is shown",
            HelpName = "FILE"
        };
        var temperature = new Option<double>("--temperature")
        { Description = "of answers; 0 takes the best token", DefaultValueFactory = _ => 0.7, HelpName = "T" };
        var limit = new Option<int?>("--limit") { Description = "use only the first instructions", HelpName = "N" };
        var output = new Option<string?>("--output", "-o")
        {
            Description = "the folder that gets model_outputs.json, annotations.json (as AlpacaEval reads them) and results.json; the same "
                + "command goes on where it was stopped",
            HelpName = "FOLDER"
        };
        var words = new JudgeWords();
        var command = new Command("alpaca-eval", """
            Have a model's answers compared with others, and show its win rates: AlpacaEval

            A judge sees each pair in both orders; a reward model compares by its scores. The length-controlled win rate is what it would be if answers
            were as long as those that they are compared with. Without a judge only answers are written.

            Examples:
              handbook alpaca-eval --annotations annotations.json --length-control df_gamed.csv
              handbook alpaca-eval runs/my-dpo --reference baseline.json --endpoint-model gpt-4 --output runs/my-dpo/alpaca
              handbook alpaca-eval --outputs mine.json --reference baseline.json --endpoint-model gpt-4-turbo --weighted --output compared
              handbook alpaca-eval --outputs mine.json --reference baseline.json --reward-model runs/my-reward --output compared
            """)
        {
            model, outputs, reference, annotations, reward, weighted, control, temperature, limit, output,
        };
        words.AddTo(command);
        // Every tensor lives on the worker's thread; this one stays free to hear Ctrl-C.
        command.SetAction((args, cancel) => Task.Run(() =>
        {
            var observer = new ConsoleObserver();
            var (folder, file) = (args.GetValue(model), args.GetValue(outputs));
            if (args.GetValue(annotations) is { } there)
            {
                string[] others = [.. args.Given(command.Options.Except([annotations, control])).Select(option => option.Name),
                    .. folder is null ? (string[])[] : ["a model"]];
                if (others.Length > 0)
                    throw new InputException($"--annotations is given with {string.Join(", ", others)}",
                        "comparisons that are there are only measured", $"leave out {string.Join(", ", others)}");
                Show(AlpacaRun.Measure(there, args.GetValue(control)));
                return ExitCode.Ok;
            }
            if (folder is null == file is null)
                throw new InputException(folder is null ? "neither a model nor answers are named" : "both a model and --outputs are given",
                    fix: "name a model's folder, or --outputs FILE, or --annotations FILE");
            if (args.GetValue(reference) is not { } compared)
                throw new InputException("--reference is missing", "answers are compared with those of another model",
                    "name a file as AlpacaEval's model_outputs.json");
            if (args.GetValue(output) is not { } kept)
                throw new InputException("--output is missing", fix: "name the folder that gets answers and comparisons");
            var count = args.AtLeastOne(limit, "leave it out to use all");
            if (args.GetValue(temperature) is not (>= 0 and < double.PositiveInfinity))
                throw new InputException($"--temperature is {args.GetValue(temperature)}, which it cannot be", fix: "use 0.7");
            using var judge = Judge(args);
            if (judge is null && file is not null)
                throw new InputException("answers are named, but nobody who compares them",
                    fix: "add --endpoint-model NAME, --judge FOLDER or --reward-model FOLDER");
            words.NoteUnused(args, observer, answers: folder is not null, speaks: judge is not null and not RewardPairJudge);
            if (folder is null)
                args.NoteUnused(observer, "no model answers", temperature);
            if (judge is null)
                args.NoteUnused(observer, "nothing is compared", control);
            var all = AlpacaOutput.Read(compared, "--reference");
            var report = AlpacaRun.Run(new()
            {
                Reference = count is { } first ? [.. all.Take(first)] : all,
                Model = folder is null ? null : words.Answerer(args, folder, observer, args.GetValue(temperature)),
                Outputs = file is null ? null : AlpacaOutput.Read(file, "--outputs"),
                Output = kept,
                Judge = judge,
                LengthControl = args.GetValue(control),
                Temperature = args.GetValue(temperature),
                CommandLine = Program.CommandLine,
                Observer = observer,
            }, cancel);
            if (report is not null)
                Show(report);
            return ExitCode.Ok;

            IPairJudge? Judge(ParseResult args)
            {
                if (args.GetValue(weighted))
                    return args.GetValue(reward) is null && words.WeightedJudge(args, observer) is { } letters ? letters
                        : throw new InputException("--weighted is given without a judge that speaks",
                            "it reads the probabilities of what one says",
                            "add --endpoint-model NAME or --judge FOLDER");
                var spoken = words.Judge(args, observer);
                if (args.GetValue(reward) is not { } scorer)
                    return spoken is null ? null : new SpokenPairJudge(spoken, words.Prompts(args));
                if (spoken is not null)
                    throw new InputException("both a judge and --reward-model are given", fix: "name one");
                var found = HubWords.Model(scorer);
                return new RewardPairJudge(JudgeWords.NameOf(scorer), RunState.WeightsOf(found), () =>
                    RewardModelScorer.Of(ModelSource.Find(found), words.Compute(args), observer.Said, source => DevicePlan.Loader(source,
                        observer, words.Wish(args))));
            }
        }, CancellationToken.None));
        return command;
    }

    private static void Show(AlpacaReport report)
    {
        foreach (var line in report.Table())
            Console.Out.WriteLine(line);
        if (report.IsMinimal)
            Console.Error.WriteLine("note: the published length-controlled win rate needs df_gamed.csv of the data set tatsu-lab/alpaca_eval: "
                + "download it and name it with --length-control; shown is the variant without it");
    }
}
