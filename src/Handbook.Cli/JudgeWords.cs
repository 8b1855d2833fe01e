using System.CommandLine;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Evaluation.Judging;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Torch;
using Handbook.Training.Plans;
using Handbook.Training.Sampling;

namespace Handbook.Cli;

/// <summary>The options of a command in which a model answers and another one judges: who they are, and how they speak.</summary>
internal sealed class JudgeWords
{
    private readonly EndpointWords _endpoint = new();
    private readonly Option<string?> _judge = new("--judge")
    { Description = "a chat model in a folder that judges; or name --endpoint-model", HelpName = "FOLDER" };
    private readonly Option<string?> _prompts = new("--judge-prompts")
    {
        Description = "what the judge is told, as FastChat's judge_prompts.jsonl (of alpaca-eval --weighted, a template as "
        + "AlpacaEval's alpaca_eval_clf.txt); without it our own words",
        HelpName = "FILE"
    };
    private readonly Option<int> _judgeTokens = new("--judge-max-tokens")
    { Description = "most tokens of a judgement", DefaultValueFactory = _ => 2048, HelpName = "N" };
    private readonly Option<string?> _id = new("--model-id")
    { Description = "the answering model's name in files and tables; without it that of its folder", HelpName = "NAME" };
    private readonly Option<int> _tokens = new("--max-new-tokens")
    { Description = "most tokens of an answer", DefaultValueFactory = _ => 1024, HelpName = "N" };
    private readonly Option<int> _batch = new("--batch-size")
    { Description = "answers that are worked on at once", DefaultValueFactory = _ => 16 };
    private readonly Option<long> _seed = new("--seed")
    { Description = "decides drawn answers and resampled intervals", DefaultValueFactory = _ => 1234 };
    private readonly Option<string> _dtype = OptionWords.Precision();
    private readonly Option<bool> _useCpu = OptionWords.UseCpu();

    public void AddTo(Command command)
    {
        command.Options.Add(_judge);
        _endpoint.AddTo(command);
        foreach (var option in (Option[])[_prompts, _judgeTokens, _id, _tokens, _batch, _seed, _dtype, _useCpu])
            command.Options.Add(option);
    }

    /// <summary>Tells of options that change nothing here.</summary>
    /// <param name="answers">Whether a model answers.</param>
    /// <param name="speaks">Whether a judge is told something.</param>
    /// <param name="judge">What else there is only for a judge.</param>
    public void NoteUnused(ParseResult args, IWorkObserver observer, bool answers, bool speaks, params IEnumerable<Option> judge)
    {
        if (!answers)
            args.NoteUnused(observer, "no model answers", _id, _tokens);
        if (!speaks)
            args.NoteUnused(observer, "no judge is asked", [_prompts, _judgeTokens, .. judge]);
        if (_endpoint.Model(args) is null)
            args.NoteUnused(observer, "no endpoint is asked", _endpoint.Parallel);
    }

    public long Seed(ParseResult args) => args.GetValue(_seed);

    public DType Compute(ParseResult args) => args.Compute(_dtype);

    public DeviceWish Wish(ParseResult args) => args.Wish(_useCpu);

    public JudgePrompts Prompts(ParseResult args) => args.GetValue(_prompts) is { } path ? JudgePrompts.Read(path) : JudgePrompts.Own();

    /// <summary>The judge; null where none is named.</summary>
    /// <exception cref="InputException">Two are named, or the endpoint's address is none.</exception>
    public Judge? Judge(ParseResult args, IWorkObserver observer)
    {
        Require(args);
        var (folder, elsewhere) = (args.GetValue(_judge), _endpoint.Model(args));
        var options = new SamplingOptions
        {
            MaxNewTokens = args.GetValue(_judgeTokens),
            Temperature = 0,
            Seed = args.GetValue(_seed),
            BatchSize = args.GetValue(_batch),
        };
        if (elsewhere is not null)
        {
            if (folder is not null)
                throw new InputException("both --judge and --endpoint-model are given", fix: "name one judge");
            var endpoint = _endpoint.Open(args, observer.Said);
            return new(elsewhere, () => new EndpointAnswers(endpoint, elsewhere, options, []));
        }
        return folder is null ? null
            : new(NameOf(folder), () => new ModelAnswers(Opened(folder, args, observer), options, [], textsAreTurns: true));
    }

    /// <summary>A judge that answers with one letter, by the letter's probability; null where none is named.</summary>
    /// <inheritdoc cref="Judge"/>
    public IPairJudge? WeightedJudge(ParseResult args, IWorkObserver observer)
    {
        Require(args);
        args.NoteUnused(observer, "with --weighted a judgement is one token", _judgeTokens);
        var (folder, elsewhere) = (args.GetValue(_judge), _endpoint.Model(args));
        if (folder is not null && elsewhere is not null)
            throw new InputException("both --judge and --endpoint-model are given", fix: "name one judge");
        var prompt = args.GetValue(_prompts) is { } path ? WeightedPrompt.Read(path) : WeightedPrompt.Own;
        if (elsewhere is null)
            return folder is null ? null : new WeightedPairJudge(new ModelFirstTokens(NameOf(folder),
                () => Opened(folder, args, observer)), prompt);
        var endpoint = _endpoint.Open(args, observer.Said);
        var options = new SamplingOptions { MaxNewTokens = 1, Seed = args.GetValue(_seed), BatchSize = args.GetValue(_batch) };
        return new WeightedPairJudge(new EndpointFirstTokens(new(elsewhere, () =>
            new EndpointAnswers(endpoint, elsewhere, options, [], EndpointFirstTokens.Count))), prompt);
    }

    /// <summary>The model that answers.</summary>
    public Answerer Answerer(ParseResult args, string folder, IWorkObserver observer, double? temperature = null)
    {
        Require(args);
        var options = new SamplingOptions
        {
            MaxNewTokens = args.GetValue(_tokens),
            Seed = args.GetValue(_seed),
            BatchSize = args.GetValue(_batch),
        };
        return new(args.GetValue(_id) ?? NameOf(folder), $"{RunState.WeightsOf(HubWords.Model(folder))} {options.MaxNewTokens} {options.Seed} "
            + $"{Compute(args)} {temperature}", heat => new ModelAnswers(Opened(folder, args, observer), options with { Temperature = heat }, [],
                textsAreTurns: true));
    }

    /// <summary>A folder's or file's last name.</summary>
    public static string NameOf(string folder) => Path.GetFileName(Path.TrimEndingDirectorySeparator(folder.Replace('\\', '/')));

    private LanguageModel Opened(string folder, ParseResult args, IWorkObserver observer)
    {
        var source = ModelSource.Find(HubWords.Model(folder));
        var model = LanguageModel.Open(source, Compute(args), load: DevicePlan.Loader(source, observer, Wish(args)));
        if (model.CanChat)
            return model;
        using (model)
            throw new InputException($"{folder} has no chat template", "questions and judgements are turns of a conversation",
                "name a model that was tuned on conversations");
    }

    private void Require(ParseResult args)
    {
        foreach (var option in (Option<int>[])[_judgeTokens, _tokens, _batch])
            args.AtLeastOne(option);
    }
}
