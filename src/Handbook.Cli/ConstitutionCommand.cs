using System.CommandLine;
using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Cli.Progress;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Runs;
using Handbook.Training.Plans;
using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Endpoints;

namespace Handbook.Cli;

/// <summary><c>handbook constitution [MODEL] --constitution FILE --prompts FILE --output FOLDER</c></summary>
internal static class ConstitutionCommand
{
    public static Command Create()
    {
        var model = new Argument<string?>("model")
        { Description = "folder of a chat model that answers; leave it out with --endpoint-model", Arity = ArgumentArity.ZeroOrOne };
        var constitution = new Option<string>("--constitution")
        { Description = "YAML or JSON with principles (critique and revision each) and perhaps exemplars", Required = true };
        var prompts = new Option<string>("--prompts")
        {
            Description = "a .txt with one prompt a line, or a data file or folder with a column prompt, messages, conversations, "
            + "chosen, instruction, question or text",
            Required = true
        };
        var output = new Option<string>("--output") { Description = "the folder that gets the data", Required = true };
        var revisions = new Option<int>("--revisions")
        {
            Description = "critiques and revisions of each answer, each by another principle",
            DefaultValueFactory = _ => 1
        };
        var testShare = new Option<double>("--test-share")
        {
            Description = "share of the prompts whose rows are held out",
            DefaultValueFactory = _ => 0.05
        };
        var most = new Option<int?>("--max-prompts") { Description = "use only so many prompts" };
        var batch = new Option<int>("--batch-size") { Description = "answers that are worked on at once", DefaultValueFactory = _ => 16 };
        var endpoint = new EndpointWords();
        var sampling = new SamplingWords();
        var command = new Command("constitution", """
            Make a model criticise and revise its answers by written principles: data for constitutional AI

            The model answers each prompt, is asked for a critique by one principle of the constitution, and then for a revision. The folder gets
            train_sft.jsonl (the prompt with the last revision) and train_prefs.jsonl (chosen: the last revision, rejected: the first answer), and
            test_sft.jsonl and test_prefs.jsonl of held-out prompts: the data set that recipes/constitutional-ai trains on. The same command goes on
            where it was stopped.

            Examples:
              handbook constitution runs/my-sft --constitution recipes/constitutional-ai/constitution.yaml --prompts prompts.jsonl --output data/my-cai
              handbook constitution --base-url http://localhost:8000/v1 --endpoint-model my-model --constitution my.yaml --prompts prompts.txt --output data/my-cai
              handbook sft RECIPE --dataset_name=data/my-cai --dataset_train_split=train_sft
              handbook dpo RECIPE --dataset_name=data/my-cai --dataset_train_split=train_prefs
            """)
        {
            model, constitution, prompts, output, revisions, testShare, most, batch,
        };
        endpoint.AddTo(command);
        sampling.AddTo(command);
        // Every tensor lives on the worker's thread; this one stays free to hear Ctrl-C.
        command.SetAction((args, cancel) => Task.Run(() =>
        {
            var (folder, elsewhere) = (args.GetValue(model), endpoint.Model(args));
            if (folder is null == elsewhere is null)
                throw new InputException(folder is null ? "nobody is named who answers"
                    : "both a model folder and --endpoint-model are given",
                    fix: "name a model folder, or --endpoint-model with --base-url");
            var count = args.AtLeastOne(most, "leave it out to use all");
            if (folder is not null)
                HubWords.Model(folder, cancel);
            var asked = PromptFile.Read(HubWords.Rows(new() { Id = args.GetRequiredValue(prompts) }).Id);
            foreach (var remark in asked.Remarks)
                Console.Error.WriteLine(remark);
            var stops = sampling.Stops(args);
            var general = sampling.Of(args, null);
            IWorkObserver observer = new ConsoleObserver();
            foreach (var without in WithoutEffect(args, elsewhere is null ? [endpoint.Parallel] : [batch, .. sampling.Computing]))
                observer.Noted($"{without} has no effect "
                    + $"on {(elsewhere is null ? "a model folder; --batch-size says how many answers are worked on at once" : "an endpoint")}");
            // Opened at once: a wrong address or option is told before anything is written.
            var remote = elsewhere is null ? null : new EndpointAnswers(endpoint.Open(args, observer.Said), elsewhere, general, stops);
            var options = new ConstitutionOptions
            {
                Constitution = Constitution.Load(args.GetRequiredValue(constitution)),
                Prompts = count is { } first ? [.. asked.Prompts.Take(first)] : asked.Prompts,
                Output = args.GetRequiredValue(output),
                Revisions = args.GetValue(revisions),
                TestShare = args.GetValue(testShare),
                Seed = general.Seed,
                SourceKey = $"{(folder is null ? $"{endpoint.Address(args)} {elsewhere}" : ConstitutionRun.KeyOf(folder))} {Words(args, sampling)} {string.Join('\n', stops)}",
            };
            var (rows, dropped) = ConstitutionRun.Run(options, () => Source(args), observer, Program.CommandLine, cancel);
            foreach (var (name, number) in rows)
                Console.Out.WriteLine($"{Path.Combine(options.Output, name)}.jsonl: {number:N0} rows");
            foreach (var (reason, number) in dropped)
                Console.Out.WriteLine($"left out: {number:N0} × {reason}");
            return ExitCode.Ok;

            IAnswerSource Source(ParseResult args)
            {
                if (remote is not null)
                    return remote;
                var source = ModelSource.Find(folder!);
                var speaker = LanguageModel.Open(source, sampling.Compute(args), load: DevicePlan.Loader(source, observer, sampling.Wish(args)));
                if (!speaker.CanChat)
                    using (speaker)
                        throw new InputException($"{folder} has no chat template",
                            why: "critiques and revisions are turns of a conversation",
                            fix: "name a model that was tuned on conversations");
                return new ModelAnswers(speaker, sampling.Of(args, speaker) with { BatchSize = args.GetValue(batch) },
                    stops, textsAreTurns: true);
            }
        }, CancellationToken.None));
        return command;
    }

    private static IEnumerable<string> WithoutEffect(ParseResult args, IEnumerable<Option> options) =>
        options.Where(option => args.GetResult(option) is { Implicit: false }).Select(option => option.Name);

    /// <summary>How answers are drawn, as far as the options say it; the rest follows from the model.</summary>
    private static string Words(ParseResult args, SamplingWords sampling) =>
        $"{sampling.Compute(args)} {JsonSerializer.Serialize(sampling.Of(args, null))}";
}
