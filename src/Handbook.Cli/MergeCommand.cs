using System.CommandLine;
using System.Globalization;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Runs;
using Handbook.Torch;

namespace Handbook.Cli;

/// <summary><c>handbook merge ADAPTER --out DIR</c>, and <c>handbook merge --linear A:0.7 B:0.3 --out DIR</c></summary>
internal static class MergeCommand
{
    private static readonly Argument<string?> _adapter = new("adapter")
    { Description = "folder of the adapter; the adapters and the model below it are found", Arity = ArgumentArity.ZeroOrOne };
    private static readonly Option<string> _out = new("--out", "-o")
    { Description = "folder for the result; it must not exist yet, or be empty", Required = true, HelpName = "DIR" };
    private static readonly Option<string?> _base = new("--base")
    { Description = "the model below the adapters, where it no longer lies where they say", HelpName = "MODEL" };
    private static readonly Option<bool> _allowOtherBase = new("--allow-other-base")
    { Description = "let --base have other weights than those that the adapter was trained on" };
    private static readonly Option<string?> _probe = new("--probe")
    { Description = "texts to compare both models on, one a line; without it a few built-in ones", HelpName = "FILE" };
    private static readonly Option<double?> _maxDrift = new("--max-drift")
    {
        Description = "refuse where a log-probability differs by more (nats); without it "
            + $"{Limit(DType.Float32)} in float32, {Limit(DType.Float16)} in float16, {Limit(DType.BFloat16)} in bfloat16",
        HelpName = "N"
    };
    private static readonly Option<string?> _dtype = new("--dtype")
    { Description = "element type of the merged weights; without it the base's" };
    private static readonly Option<MergeTarget?> _into = new("--into")
    {
        Description = "of an adapter that was trained over quantised weights (QLoRA): dequantised, the values of these codes, which it was "
            + "trained on (the default), or original, the weights from which they were made, which an adapter answers less like in training",
        HelpName = "dequantised|original"
    };
    private static readonly Option<bool> _merge = new("--merge") { Description = "merge a combination into the model, too" };
    private static readonly Option<double?> _density = new("--density")
    { Description = "share of elements that ties and dare keep; without it 0.5", HelpName = "N" };
    private static readonly Option<int?> _rank = new("--rank")
    { Description = "rank of a combination by svd; without it the largest of the adapters'", HelpName = "R" };
    private static readonly Option<string?> _signs = new("--majority-sign-method")
    { Description = "elect a sign by the sum of the values (total, the default) or by their number (frequency)" };
    private static readonly Option<long?> _seed = new("--seed")
    { Description = "of the elements that dare drops; without it 42", HelpName = "N" };

    private static readonly (CombinationMethod Method, Option<string[]> Option)[] _methods = [.. CombinationMethod.All.Select(method =>
        (method, new Option<string[]>("--" + method.Name.Replace('_', '-'))
        { Description = $"combine adapters: {method.Summary}", AllowMultipleArgumentsPerToken = true, HelpName = "ADAPTER:WEIGHT ..." }))];

    private static string Limit(DType dtype) => MergeDrift.Allowed(dtype).ToString(CultureInfo.InvariantCulture);

    public static Command Create()
    {
        _dtype.AcceptOnly("float32", "bfloat16", "float16");
        _into.AcceptOnly("dequantised", "original");
        _signs.AcceptOnly("total", "frequency");
        var command = new Command("merge",
            "Merge an adapter into the model that it was trained on, or several adapters into one\n\nExamples:\n"
            + "  handbook merge runs/dpo-lora --out runs/dpo-merged\n"
            + "      the adapter, and those that it lies on, into their model: a model like any other, in the same folder layout\n"
            + "  handbook merge runs/dpo-lora --out runs/dpo-merged --base models/moved --probe my-texts.txt\n"
            + "  handbook merge runs/dpo-qlora --out runs/dpo-merged --into original\n"
            + "      an adapter over 4-bit weights into the model before it was quantised; how far both ways are off is shown\n"
            + "  handbook merge --cat runs/a:0.7 runs/b:0.3 --out runs/both\n"
            + "      one adapter out of two on the same model; --merge gives the merged model instead\n"
            + "  handbook merge --ties runs/a:1 runs/b:1 --density 0.2 --out runs/both\n\n"
            + "The merged model is compared with the one that has the adapter on a few texts: the largest and the mean difference of "
            + "their\nlog-probabilities are printed, and too large a one leaves nothing. --linear, --ties, --dare-linear and --dare-ties sum A and "
            + "B each\n"
            + "by itself, as the reference implementation does; --cat is the exact sum, --svd the nearest to it of a rank.")
        {
            _adapter, _out, _base, _allowOtherBase, _probe, _maxDrift, _dtype, _into,
        };
        foreach (var (_, option) in _methods)
            command.Add(option);
        foreach (var option in (Option[])[_merge, _density, _rank, _signs, _seed])
            command.Add(option);
        // Every tensor lives on the worker's thread; this one stays free to hear Ctrl-C.
        command.SetAction((args, cancel) => Task.Run(() => Run(args, cancel), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult args, CancellationToken cancel)
    {
        var observer = new ConsoleObserver();
        var combine = Combination(args);
        if (combine is null)
            Report(MergeRun.Run(Merge(args, args.GetValue(_adapter)!), observer, cancel));
        else if (args.GetValue(_merge))
            CombineAndMerge(args, combine, observer, cancel);
        else
            Console.WriteLine($"{combine.Output}: an adapter of {CombineRun.Run(combine, observer, cancel)}, {combine.Method.Name} of "
                + Shown(combine));
        return ExitCode.Ok;
    }

    private static void CombineAndMerge(ParseResult args, CombineOptions combine, ConsoleObserver observer, CancellationToken cancel)
    {
        MergePlace.Require(combine.Output, combine.Adapters.Select(adapter => ("adapter", (string?)adapter.Name)));
        var folder = Directory.CreateTempSubdirectory("handbook-merge-");
        try
        {
            CombineRun.Run(combine with { Output = folder.FullName }, observer, cancel);
            Report(MergeRun.Run(Merge(args, folder.FullName) with { Shown = $"{combine.Method.Name} of {Shown(combine)}" }, observer,
                cancel));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static MergeOptions Merge(ParseResult args, string adapter) => new()
    {
        Adapter = Brought(args, adapter),
        Output = args.GetRequiredValue(_out),
        Base = Below(args),
        AllowOtherBase = args.GetValue(_allowOtherBase),
        Probe = args.GetValue(_probe),
        MaxDrift = args.GetValue(_maxDrift) is var limit && limit is null or >= 0 ? limit : throw new InputException($"--max-drift is {limit}",
            fix: "use 0 or more, e.g. --max-drift 0.1"),
        Into = args.GetValue(_into),
        DType = args.GetValue(_dtype) switch
        {
            "float32" => DType.Float32,
            "bfloat16" => DType.BFloat16,
            "float16" => DType.Float16,
            _ => null,
        },
    };

    /// <summary>An adapter that is named; beside --base, what its own config says to lie below it is not needed.</summary>
    private static string Brought(ParseResult args, string adapter) =>
        args.GetValue(_base) is not null && ModelFolder.IsLocal(adapter) ? adapter : HubWords.Model(adapter);

    private static string? Below(ParseResult args) => args.GetValue(_base) is { } named ? HubWords.Model(named) : null;

    /// <summary>What is asked of several adapters; null where one is merged.</summary>
    /// <exception cref="InputException">The options contradict one another.</exception>
    private static CombineOptions? Combination(ParseResult args)
    {
        var asked = _methods.Where(method => args.GetResult(method.Option) is not null).ToArray();
        var adapter = args.GetValue(_adapter);
        var method = asked.FirstOrDefault().Method;
        if (asked.Length > 1)
            throw new InputException($"{asked[0].Option.Name} and {asked[1].Option.Name} exclude one another",
                fix: "combine in one way at a time");
        if (method is null && adapter is null)
            throw new InputException("no adapter is named",
                fix: "write handbook merge ADAPTER --out DIR, or handbook merge --cat A:0.7 B:0.3 --out DIR");
        if (method is not null && adapter is not null)
            throw new InputException($"{adapter} stands alone, and {asked[0].Option.Name} names adapters of its own",
                fix: $"write {asked[0].Option.Name} {adapter}:1 and the others behind it");
        RequireUse(args, _merge, method is not null, "goes with a combination; a single adapter is merged anyway");
        RequireUse(args, _density, method?.Pruning is ChangePruning.Smallest or ChangePruning.Random, "goes with ties and dare");
        RequireUse(args, _rank, method?.Space == CombinationSpace.Products, "goes with the methods whose name ends in svd");
        RequireUse(args, _signs, method?.ElectsSigns == true, "goes with ties");
        RequireUse(args, _seed, method?.Pruning == ChangePruning.Random, "goes with dare");
        foreach (var option in (Option[])[_probe, _maxDrift, _dtype, _into])
            RequireUse(args, option, method is null || args.GetValue(_merge), "goes with a merge into the model: add --merge");
        if (method is null)
            return null;
        var (density, rank) = (args.GetValue(_density), args.GetValue(_rank));
        if (density is not (null or > 0 and <= 1))
            throw new InputException($"--density is {density}", why: "it is the share of elements that stay",
                fix: "use a number above 0 up to 1, e.g. --density 0.5");
        if (rank < 1)
            throw new InputException($"--rank is {rank}", fix: "use 1 or more, e.g. --rank 16");
        var standard = new CombinationOptions();
        return new()
        {
            Adapters = [.. Weighted(args.GetValue(asked[0].Option)!, asked[0].Option.Name)
                .Select(adapter => (Brought(args, adapter.Name), adapter.Weight))],
            Method = method,
            Numbers = new()
            {
                Density = density ?? standard.Density,
                Rank = rank,
                SignsByFrequency = args.GetValue(_signs) == "frequency",
                Seed = args.GetValue(_seed) ?? standard.Seed,
            },
            Output = args.GetRequiredValue(_out),
            Base = Below(args),
            AllowOtherBase = args.GetValue(_allowOtherBase),
        };
    }

    private static void RequireUse(ParseResult args, Option option, bool isUsed, string rule)
    {
        if (!isUsed && args.GetResult(option) is { Implicit: false })
            throw new InputException($"{option.Name} {rule}", fix: $"leave {option.Name} out");
    }

    private static (string Name, double Weight)[] Weighted(string[] words, string option)
    {
        if (words.Length < 2)
            throw new InputException($"{option} names {words.Length} adapter{(words.Length == 1 ? "" : "s")}",
                fix: $"name two or more, e.g. {option} runs/a:0.7 runs/b:0.3");
        return [.. words.Select(word => word.LastIndexOf(':') is > 0 and var colon
            && double.TryParse(word.AsSpan(colon + 1), NumberStyles.Float, CultureInfo.InvariantCulture, out var weight)
                && double.IsFinite(weight)
            ? (word[..colon], weight) : throw new InputException($"{option} {word} has no weight", why: "each adapter counts by its weight",
                fix: $"write ADAPTER:WEIGHT, e.g. {word.TrimEnd(':')}:0.5"))];
    }

    private static string Shown(CombineOptions combine) => string.Join(" + ", combine.Adapters.Select(adapter =>
        $"{adapter.Weight.ToString(CultureInfo.InvariantCulture)} · {adapter.Name}"));

    private static void Report(MergeResult result)
    {
        Console.WriteLine($"{result.Folder}: {result.Chain}\n{result.Changed} layers changed, "
            + $"{result.DType.ToString().ToLowerInvariant()}, {Size.Of(result.Bytes)}, read back and compared"
            + (result.HasOwnHead ? "; the head is no longer the embedding (tie_word_embeddings: false)" : ""));
        var compared = $"{result.Drift.Count:N0} {(result.IsRewardModel ? "scores" : "log-probabilities")}; up to "
            + $"{MergeRun.Number(result.Allowed)} is let pass";
        if (result.DriftOfOther is { } other)
        {
            var isOriginal = result.Into == MergeTarget.Original;
            Console.WriteLine($"difference from the model as it was trained, over weights in {result.TrainedOver} ({compared}):\n"
                + $"{"merged into",-24}{"largest",9}{"mean",9}\n{Row(!isOriginal)}\n{Row(isOriginal)}\n"
                + (isOriginal ? "kept: the original weights; --into dequantised takes the values of the codes, which it was trained on"
                    : "kept: the dequantised values, which it was trained on; --into original takes the weights from which the codes were "
                        + "made"));

            string Row(bool kept)
            {
                var drift = kept ? result.Drift : other;
                return $"{(kept == isOriginal ? "the original weights" : "the dequantised values"),-24}{MergeRun.Number(drift.Largest),9}"
                    + $"{MergeRun.Number(drift.Mean),9}";
            }
        }
        else
            Console.WriteLine($"difference from the model with the adapter: largest {MergeRun.Number(result.Drift.Largest)}, mean "
                + $"{MergeRun.Number(result.Drift.Mean)} ({compared})");
    }
}
