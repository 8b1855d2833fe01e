using System.CommandLine;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Evaluation.Judging;

namespace Handbook.Cli;

/// <summary><c>handbook mt-bench [MODEL] --questions FILE --output FOLDER</c></summary>
internal static class MtBenchCommand
{
    public static Command Create()
    {
        var model = new Argument<string?>("model")
        { Description = "folder of a chat model that answers; leave it out to judge answers that are there", Arity = ArgumentArity.ZeroOrOne };
        var questions = new Option<string>("--questions")
        { Description = "questions of one or two turns, as MT-Bench's question.jsonl", Required = true, HelpName = "FILE" };
        var answers = new Option<string[]>("--answers")
        { Description = "answers of another model, as FastChat's model_answer/NAME.jsonl; may be repeated", HelpName = "FILE" };
        var references = new Option<string?>("--references")
        {
            Description = "answers that the judge sees beside those to questions of math, reasoning and coding, as reference_answer/gpt-4.jsonl",
            HelpName = "FILE"
        };
        var mode = new Option<string>("--mode")
        {
            Description = "single marks each answer from 1 to 10; pairwise-baseline compares each model with --baseline, pairwise-all with each "
                + "other, in both orders",
            DefaultValueFactory = _ => "single"
        };
        mode.AcceptOnly("single", "pairwise-baseline", "pairwise-all");
        var baseline = new Option<string?>("--baseline") { Description = "the model that others are compared with", HelpName = "NAME" };
        var limit = new Option<int?>("--limit") { Description = "use only the first questions", HelpName = "N" };
        var output = new Option<string>("--output", "-o")
        {
            Description = "the folder that gets model_answer, model_judgment (as FastChat's tools read them) and results.json; the same command "
                + "goes on where it was stopped",
            Required = true,
            HelpName = "FOLDER"
        };
        var words = new JudgeWords();
        var command = new Command("mt-bench", """
            Answer questions of two turns and have a judge mark or compare the answers: MT-Bench

            Questions, reference answers and the published judge prompts are files of FastChat (fastchat/llm_judge/data). Each category has its own
            temperature. Without a judge only answers are written.

            Examples:
              handbook mt-bench runs/my-dpo --questions question.jsonl --output bench
              handbook mt-bench --questions question.jsonl --answers bench/model_answer/my-dpo.jsonl --references gpt-4.jsonl --judge-prompts judge_prompts.jsonl --endpoint-model gpt-4 --output bench
              handbook mt-bench --questions question.jsonl --answers a.jsonl --answers b.jsonl --references gpt-4.jsonl --mode pairwise-all --judge judge-model --output bench
            """)
        {
            model, questions, answers, references, mode, baseline, limit, output,
        };
        words.AddTo(command);
        // Every tensor lives on the worker's thread; this one stays free to hear Ctrl-C.
        command.SetAction((args, cancel) => Task.Run(() =>
        {
            var observer = new ConsoleObserver();
            var count = args.AtLeastOne(limit, "leave it out to use all");
            var asked = BenchQuestion.Read(args.GetRequiredValue(questions));
            using var judge = words.Judge(args, observer);
            var options = new BenchOptions
            {
                Questions = count is { } first ? [.. asked.Take(first)] : asked,
                Output = args.GetRequiredValue(output),
                Model = args.GetValue(model) is { } folder ? words.Answerer(args, folder, observer) : null,
                Answers = args.GetValue(answers) ?? [],
                Judge = judge,
                Prompts = words.Prompts(args),
                References = args.GetValue(references),
                Mode = args.GetValue(mode) switch
                {
                    "single" => JudgeMode.Single,
                    "pairwise-all" => JudgeMode.PairwiseAll,
                    _ => JudgeMode.PairwiseBaseline,
                },
                Baseline = args.GetValue(baseline),
                Seed = words.Seed(args),
                CommandLine = Program.CommandLine,
                Observer = observer,
            };
            if (options is { Model: null, Answers: [] })
                throw new InputException("neither a model nor answers are named", fix: "name a model's folder, or --answers FILE");
            if (options is { Model: null, Judge: null })
                throw new InputException("answers are named, but no judge", fix: "add --endpoint-model NAME or --judge FOLDER");
            words.NoteUnused(args, observer, answers: options.Model is not null, speaks: judge is not null, references, mode, baseline);
            if (judge is not null && options.Mode != JudgeMode.PairwiseBaseline)
                args.NoteUnused(observer, "--mode pairwise-baseline compares with it", baseline);
            if (judge is not null && !options.Questions.Any(question => question.NeedsReference))
                args.NoteUnused(observer, "no question is of a category that is judged beside one", references);
            foreach (var line in BenchReport.Table(BenchRun.Run(options, cancel)))
                Console.Out.WriteLine(line);
            return ExitCode.Ok;
        }, CancellationToken.None));
        return command;
    }
}
