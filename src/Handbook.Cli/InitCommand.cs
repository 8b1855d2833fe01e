using System.CommandLine;
using System.Globalization;
using Handbook.Base;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Cli;

/// <summary><c>handbook init --config CONFIG --tokenizer DIR --output DIR [--seed N] [--dtype float32] [--force]</c></summary>
internal static class InitCommand
{
    public static Command Create()
    {
        var config = new Option<string>("--config")
        { Description = "config.json of the architecture, or a folder with one", Required = true };
        var tokenizer = new Option<string>("--tokenizer") { Description = "folder with the tokenizer the model will use", Required = true };
        var output = new Option<string>("--output") { Description = "folder for the new model", Required = true };
        var seed = new Option<long>("--seed")
        { Description = "the same seed gives the same weights, on any machine and any number of cores", DefaultValueFactory = _ => 42 };
        var dtype = new Option<string>("--dtype") { Description = "element type of the weights; without it the config's, or else float32" };
        dtype.AcceptOnly("float32", "bfloat16", "float16");
        var force = new Option<bool>("--force") { Description = "replace a model that is already in the output folder" };
        var command = new Command("init", "Make a new model with random weights from a config.json and a tokenizer") { config, tokenizer,
            output, seed, dtype, force };
        command.SetAction(args => Run(args.GetRequiredValue(config), args.GetRequiredValue(tokenizer), args.GetRequiredValue(output),
            args.GetValue(seed), DTypeOf(args.GetValue(dtype)), args.GetValue(force)));
        return command;
    }

    private static int Run(string configPath, string tokenizerPath, string output, long seed, DType? asked, bool force)
    {
        if (!force && Directory.Exists(output)
            && (File.Exists(Path.Combine(output, "config.json")) || Directory.GetFiles(output, "*.safetensors*").Length > 0))
            throw new InputException($"{output} already holds a model", fix: "choose another --output, or add --force to replace it");
        var tokenizer = Tokenizer.Load(HubWords.Tokenizer(tokenizerPath));
        var config = NewModel.Config(configPath, tokenizer);
        var dtype = asked ?? config.Decoder.DType ?? DType.Float32;
        config = config.With(dtype);

        var tensors = NewModel.Tensors(config, seed, dtype);
        var files = WeightFilesWriter.Save(output, tensors);
        tokenizer.Save(output);
        new GenerationDefaults { BosId = config.Decoder.BosId, EosIds = config.Decoder.EosIds, PadId = config.Decoder.PadId }.Save(output);
        config.Save(output);

        // A weight that two published names share is counted once.
        var count = config.Family.Parameters(config.Decoder).Sum(p => p.Count);
        var spare = config.Decoder.VocabularySize - tokenizer.VocabularySize;
        Console.WriteLine($"{output}: {config.Decoder.ModelType} with {count.ToString("N0", CultureInfo.InvariantCulture)} parameters, " +
            (config.Decoder.Experts is null ? ""
                : $"{config.Family.ActiveCount(config.Decoder).ToString("N0", CultureInfo.InvariantCulture)} of them at work on a token, ") +
            $"{Size(files.Sum(f => new FileInfo(f).Length))} as {dtype.ToString().ToLowerInvariant()}, seed {seed}");
        Console.WriteLine($"vocabulary: {tokenizer.VocabularySize} "
            + $"tokens{(spare > 0 ? $", and {spare} rows of the embedding to spare" : "")}");
        return ExitCode.Ok;
    }

    private static string Size(long bytes) => bytes switch
    {
        < 1_000_000 => $"{bytes / 1e3:0.0} kB",
        < 1_000_000_000 => $"{bytes / 1e6:0.0} MB",
        _ => $"{bytes / 1e9:0.0} GB",
    };

    private static DType? DTypeOf(string? name) => name switch
    {
        "bfloat16" => DType.BFloat16,
        "float16" => DType.Float16,
        "float32" => DType.Float32,
        _ => null,
    };
}
