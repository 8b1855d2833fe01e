using System.CommandLine;
using System.Globalization;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Data.Decontamination;
using Handbook.Data.Mixing;
using Handbook.Hub;
using Handbook.Models;
using Handbook.Recipes;

namespace Handbook.Cli;

/// <summary>What commands share that name something of the hub.</summary>
internal static class HubWords
{
    /// <summary>The option that says what a repository holds; without it a model.</summary>
    public static Option<string> Kind()
    {
        var option = new Option<string>("--repo-type")
        {
            Description = "what the repository holds",
            DefaultValueFactory = _ => "model",
            HelpName = "model|dataset"
        };
        option.AcceptOnly("model", "dataset");
        return option;
    }

    /// <summary>The option that names a branch, a tag or a commit.</summary>
    public static Option<string?> Revision(string description) => new("--revision") { Description = description, HelpName = "REVISION" };

    /// <summary>What was named.</summary>
    public static HubRepository Repository(ParseResult args, Argument<string> name, Option<string> kind, Option<string?> revision) =>
        HubRepository.Parse(KindOf(args.GetValue(kind)), args.GetRequiredValue(name), args.GetValue(revision));

    /// <summary>From the word to what it means.</summary>
    public static HubKind KindOf(string? word) => word == "dataset" ? HubKind.Dataset : HubKind.Model;

    /// <summary>Refuses to go on where the user wants nothing to be asked for.</summary>
    public static HubSettings Online()
    {
        var settings = HubSettings.FromEnvironment();
        return !settings.IsOffline ? settings : throw new InputException("HF_HUB_OFFLINE keeps to what is on this machine",
            "this command asks the hub", "unset it for this command: HF_HUB_OFFLINE= handbook …");
    }

    /// <summary>A model that is named: the files of one of the hub are in the cache behind this.</summary>
    public static string Model(string name, CancellationToken cancel = default) => Bring(name, ModelParts.Whole, cancel);

    /// <summary>The folder or the file of a tokenizer that is named; one of the hub is in the cache behind this.</summary>
    public static string Tokenizer(string name, CancellationToken cancel = default) =>
        ModelFolder.LocateOrSelf(Bring(name, ModelParts.Tokenizer, cancel));

    /// <summary>A split of a data set that is named: its files of the hub are in the cache behind this.</summary>
    public static DatasetSpec Rows(DatasetSpec spec, CancellationToken cancel = default)
    {
        using var fetch = new HubFetch(new ConsoleObserver());
        if (HubNeed.Dataset(spec, recipeFolder: null) is { } need)
            fetch.Bring(need, cancel);
        return spec;
    }

    /// <summary>The sets that rows are compared with: their files of the hub are in the cache behind this.</summary>
    public static DecontaminationOptions References(DecontaminationOptions options, CancellationToken cancel = default)
    {
        using var fetch = new HubFetch(new ConsoleObserver());
        foreach (var need in HubNeed.References(options, recipeFolder: null))
            fetch.Bring(need, cancel);
        return options;
    }

    /// <summary>Everything that a recipe names: what the hub has of it is in the cache behind this.</summary>
    public static Recipe All(Recipe recipe, CancellationToken cancel)
    {
        HubFetch.For(recipe, new ConsoleObserver(), cancel);
        return recipe;
    }

    /// <summary>What a run of the recipe would download; what cannot be found out now is left to the run.</summary>
    public static IEnumerable<string> Wants(Recipe recipe)
    {
        using var fetch = new HubFetch(new ConsoleObserver(), HubSettings.Of(recipe));
        var lines = new List<string>();
        foreach (var need in HubNeed.Of(recipe))
            try
            {
                lines.AddRange(fetch.Wants(need, CancellationToken.None).Select(want => $"a run would download {want}"));
            }
            catch (InputException problem)
            {
                lines.Add(problem.Brief);
            }
        return lines;
    }

    /// <summary>A number of files, in words.</summary>
    public static string Files(int count) => count == 1 ? "1 file" : string.Create(CultureInfo.InvariantCulture, $"{count:N0} files");

    private static string Bring(string name, ModelParts parts, CancellationToken cancel)
    {
        HubFetch.Model(name, key: null, parts, new ConsoleObserver(), cancel);
        return name;
    }
}
