using System.CommandLine;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;
using Handbook.Cli.Progress;
using Handbook.Data;
using Handbook.Data.Decontamination;
using Handbook.Data.Formats;
using Handbook.Data.Inspection;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Inspection;
using Handbook.Models;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Training.Plans;

namespace Handbook.Cli;

/// <summary><c>handbook data inspect DATA|RECIPE [--tokenizer DIR] [--html FILE]</c></summary>
internal static class DataInspectCommand
{
    private static readonly Argument<string> s_data = new("data")
    { Description = "a data file, a folder, a data set's name, or a recipe (.yaml), whose data, template and lengths are taken", HelpName = "DATA|RECIPE" };
    private static readonly Option<string?> s_method = MethodOption.Create();
    private static readonly DataWords s_words = new("the split to read, also a slice; of a data set without it train, of a recipe all that it reads");
    private static readonly Option<string?> s_tokenizer = new("--tokenizer", "--model")
    { Description = "a tokenizer's or a model's folder: counts tokens, and what its chat template makes of rows", HelpName = "DIR" };
    private static readonly Option<int?> s_maxLength = new("--max-length")
    { Description = "with --tokenizer: count rows that are longer than so many tokens", HelpName = "N" };
    private static readonly Option<int> s_sample = new("--sample")
    { Description = "most rows to tokenise; of more, every second, third, … is", DefaultValueFactory = _ => 20_000, HelpName = "N" };
    private static readonly Option<string?> s_html = new("--html") { Description = "also write one page with charts", HelpName = "FILE.html" };
    private static readonly ReferenceWords s_references = new();

    public static Command Create()
    {
        var command = new Command("inspect", "Tell what a data set is as a whole: rows, columns, lengths, repetitions, roles, scripts, length bias, "
            + "contamination, what a template makes of it\n\n`handbook inspect RECIPE` shows single rows as the model sees them.\n\n"
            + "Examples:\n  handbook data inspect data/tiny/preferences\n"
            + "  handbook data inspect recipes/tiny/sft.yaml --html sft-data.html\n"
            + "  handbook data inspect rows.jsonl --tokenizer models/tiny --max-length 1024 --against human-eval")
        {
            s_data, s_method, s_tokenizer, s_maxLength, s_sample, s_html,
        };
        foreach (var option in s_words.All.Concat(s_references.All))
            command.Add(option);
        command.SetAction((args, cancel) => Task.Run(() => Run(args, cancel), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult args, CancellationToken cancel)
    {
        var named = args.GetRequiredValue(s_data);
        var isRecipe = Path.GetExtension(named) is ".yaml" or ".yml";
        if (args.GetValue(s_sample) < 1)
            throw new InputException($"--sample is {args.GetValue(s_sample)}, but must be at least 1", fix: "--sample 20000");
        if (isRecipe && (args.GetValue(s_tokenizer) is not null || s_words.NamesSet(args)))
            throw new InputException("--tokenizer, --config and --encoding are for a data set, but a recipe is named",
                "a recipe says which tokenizer and which data it reads", "remove them, or name the data set itself");
        IReadOnlyList<SurveyRequest>? requests;
        if (!isRecipe)
            requests = [FromData(args, named)];
        else if (FromRecipe(args, named, out var diagnostics) is { } found)
            requests = found;
        else
            return ExitCode.BadInput(diagnostics);

        OutputFile.MustBeOfKind("--html", args.GetValue(s_html), "page", SurveyPage.Opening);
        var surveys = new List<DataSurvey>();
        foreach (var request in requests)
        {
            foreach (var note in request.Check?.Notes ?? [])
                Console.Error.WriteLine(note);
            using var shown = ((IWorkObserver)new ConsoleObserver()).Began($"reading {request.Part.Name}", null, "rows");
            surveys.Add(DataSurveyor.Of(request, shown.Report, cancel));
        }
        foreach (var survey in surveys)
            SurveyReport.Write(survey, Console.Out);
        if (args.GetValue(s_html) is { } page)
        {
            OutputFile.MustNotReplace("--html", page, requests.SelectMany(request => Dataset.Open(request.Part.Spec, request.RecipeFolder).Files),
                "with the rows");
            WholeFile.WriteText(page, SurveyPage.Of($"Data of {named}", surveys), durable: false);
            Console.WriteLine($"wrote {page}");
        }
        return ExitCode.Ok;
    }

    private static ContaminationCheck? Check(DecontaminationOptions? options, string? folder) =>
        options is not { Against.Count: > 0 } ? null : new(options, ReferenceSet.Load(HubWords.References(options), folder));

    private static SurveyRequest FromData(ParseResult args, string data)
    {
        var spec = HubWords.Rows(s_words.Read(args, data));
        var request = new SurveyRequest
        { Part = new(spec, IsTest: false), Sample = args.GetValue(s_sample), Check = Check(s_references.Read(args), null) };
        if (args.GetValue(s_tokenizer) is not { } name)
            return args.GetValue(s_maxLength) is null ? request
                : throw new InputException("--max-length is given without --tokenizer", "lengths are counted in tokens", "add --tokenizer DIR");
        var tokenizer = Tokenizer.Load(HubWords.Tokenizer(name));
        var layout = DataSurveyor.Guess(Dataset.Open(spec), spec).Reader?.Layout;
        var maxLength = args.GetValue(s_maxLength);
        return request with
        {
            Run = new()
            {
                Mixture = new() { Dialect = MixtureDialect.Single, Datasets = [spec], TrainSplit = spec.Split },
                Tokenizer = tokenizer,
                Chats = new ChatRowEncoder(tokenizer, ChatTemplate.Of(tokenizer, "chat_template")),
                Use = layout switch
                {
                    RowLayout.Preference => RowUse.Preferences,
                    RowLayout.Unpaired => RowUse.Unpaired,
                    RowLayout.Prompt => RowUse.Prompts,
                    _ => RowUse.FineTuning,
                },
                Rows = new()
                {
                    MaxLength = maxLength,
                    EndToken = tokenizer.EosId is null ? EndTokenRule.Never : EndTokenRule.TextsWithout,
                },
                Answers = layout switch
                {
                    RowLayout.Preference => new() { Shape = AnswerShape.Pair, Encoding = AnswerEncoding.Whole, MaxLength = maxLength },
                    RowLayout.Unpaired => new() { Shape = AnswerShape.Single, Encoding = AnswerEncoding.Whole, MaxLength = maxLength },
                    RowLayout.Prompt => new() { Shape = AnswerShape.Prompt, Encoding = AnswerEncoding.Whole, MaxLength = maxLength },
                    _ => null,
                },
            },
        };
    }

    private static IReadOnlyList<SurveyRequest>? FromRecipe(ParseResult args, string path, out Diagnostics diagnostics)
    {
        var file = new FileInfo(path);
        if (!Recipe.Load(file, [], MethodOption.Read(args, s_method) ?? Recipe.GuessMethod(file, [])).TryGet(out var recipe, out diagnostics))
            return null;
        HubWords.All(recipe, CancellationToken.None);
        var options = RowPlan.Options(recipe, RowPlan.LoadTokenizer(recipe));
        if (args.GetValue(s_maxLength) is { } longest)
            options = options with
            { Rows = options.Rows with { MaxLength = longest }, Answers = options.Answers is { } answers ? answers with { MaxLength = longest } : null };
        var check = Check(s_references.Read(args) ?? options.Decontamination, recipe.Folder);
        var parts = MixturePart.Of(recipe.Mixture, recipe.Training.Evaluates(), recipe.Folder);
        var wanted = parts.Where(part => s_words.Split(args) is not { } split || part.Spec.Split == split).ToArray();
        return wanted.Length > 0
            ? [.. wanted.Select(part => new SurveyRequest
            { Part = part, Run = options, Check = check, Sample = args.GetValue(s_sample), RecipeFolder = recipe.Folder })]
            : throw new InputException($"--split {s_words.Split(args)} is no split that {path} reads",
                fix: $"leave it out, or name one of {string.Join(", ", parts.Select(part => part.Spec.Split).Distinct())}");
    }
}
