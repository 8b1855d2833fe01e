using System.CommandLine;
using System.Globalization;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Models.Gguf;
using Handbook.Runs;
using Handbook.Torch;

namespace Handbook.Cli;

/// <summary><c>handbook convert MODEL --to FORMAT --out PATH</c></summary>
internal static class ConvertCommand
{
    private const string Safetensors = "safetensors", Bin = "bin";

    private static readonly Argument<string> _model = new("model")
    { Description = "folder of the model or of an adapter, its name on the hub, or a .gguf file" };
    private static readonly Option<string> _to = new("--to")
    {
        Description = $"a GGUF file for llama.cpp, with its weights in {string.Join(", ", Precisions)}; {Safetensors}, a folder like any "
            + $"other model's, of a GGUF file or of one with {Bin}; {Bin}, such a folder with files of torch.save",
        Required = true,
        HelpName = "FORMAT"
    };
    private static readonly Option<string> _out = new("--out", "-o")
    { Description = "the file or the folder to write", Required = true, HelpName = "PATH" };
    private static readonly Option<string?> _text = new("--imatrix-text")
    {
        Description = "a text file, some ten thousand words of what the model is for: weights that count in it are rounded with more care, "
            + "in formats of fewer than 8 bits",
        HelpName = "FILE"
    };
    private static readonly Option<string?> _dtype = new("--dtype")
    {
        Description = $"of a GGUF file, with --to {Safetensors}: element type of the weights; without it the file's own, and "
        + "float32 of codes"
    };
    private static readonly Option<bool> _force = new("--force") { Description = "replace a file that is there" };

    private static IEnumerable<string> Precisions => GgufPrecision.All.Select(precision => precision.Name);

    private static IEnumerable<string> Formats => Precisions.Concat([Safetensors, Bin]);

    public static Command Create()
    {
        _dtype.AcceptOnly("float32", "bfloat16", "float16");
        var command = new Command("convert", "Write a model in another program's format, or one of another program in ours\n\nExamples:\n"
            + "  handbook convert runs/tiny-sft --to f16 --out tiny-sft.gguf\n"
            + "  handbook convert runs/tiny-sft --to q4_k_m --imatrix-text texts.txt --out tiny-sft-q4_k_m.gguf\n"
            + "  handbook convert runs/tiny-lora --to f16 --out tiny-lora.gguf\n"
            + "      an adapter, which llama.cpp lays over the GGUF file of its model\n"
            + "  handbook convert tiny-sft.gguf --to safetensors --out runs/tiny-sft-again\n"
            + "  handbook convert runs/tiny-sft --to bin --out tiny-sft-bin\n\n"
            + "The weights, the tokenizer, the chat template and the special tokens go along. What is written is read back and compared\n"
            + "before it gets its name.")
        {
            _model, _to, _out, _text, _dtype, _force,
        };
        command.SetAction((args, cancel) => Task.Run(() => Run(args, cancel), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult args, CancellationToken cancel)
    {
        var to = Format(args.GetRequiredValue(_to));
        var model = args.GetRequiredValue(_model);
        var isFile = File.Exists(model) && (Path.GetExtension(model) == ".gguf" || GgufFile.Is(model));
        if (to != Safetensors && isFile)
            throw new InputException($"{model} is a GGUF file, and --to is {to}", why: to == Bin ? "a folder is made of it first"
                : "weights would be rounded twice",
                fix: $"name the folder that it was made from, or make one: handbook convert {model} --to {Safetensors} --out FOLDER");
        if (to is Safetensors or Bin)
        {
            RequireNone(args, _text, to, "nothing is rounded there");
            if (args.GetValue(_force))
                throw new InputException($"{_force.Name} does not go with --to {to}", "a folder is written, and no folder is replaced",
                    $"leave {_force.Name} out, and name a folder that is not there");
        }
        if (isFile)
            FromGguf(args, model, cancel);
        else if (to is Safetensors or Bin)
            Rewrite(args, to, model, cancel);
        else
            ToGguf(args, GgufPrecision.All.First(precision => precision.Name == to), model, cancel);
        return ExitCode.Ok;
    }

    private static string Format(string to) => Formats.FirstOrDefault(name => name.Equals(to, StringComparison.OrdinalIgnoreCase))
        ?? throw (to
        .Equals("onnx", StringComparison.OrdinalIgnoreCase) ? new InputException("--to onnx: no ONNX file is written",
            why: "ONNX holds one fixed graph for each family, and its runtimes for language models read graphs that their own exporters make; "
                + "a graph of ours would open in none of them with its cache of keys and values",
            fix: "export the folder with Optimum: optimum-cli export onnx --model FOLDER OUT; or write a GGUF file: --to f16")
        : new($"--to {to} is no format that is written", why: $"these are: {string.Join(", ", Formats)}",
            fix: $"{(Spelling.Nearest(to, Formats) is { } near ? $"did you mean {near}? " : "")}--to f16 keeps 16 bits of every weight"));

    private static void ToGguf(ParseResult args, GgufPrecision precision, string model, CancellationToken cancel)
    {
        RequireNone(args, _dtype, precision.Name, "it says the type itself");
        var output = Target(args);
        var named = HubWords.Model(model, cancel);
        if (ModelFolder.TryFind(named) is { } adapter && ModelFolder.IsAdapter(adapter))
        {
            FromAdapter(args, precision, named, output);
            return;
        }
        var folder = ModelFolder.Find(named);
        var importance = Importance(args, precision, folder, cancel);
        GgufExported written;
        using (var bar = new ProgressBar("converting", null, "weights"))
            written = GgufExport.Write(folder, precision, output, importance, done => bar.Advance(done), cancel);
        foreach (var note in written.Notes)
            Console.Error.WriteLine($"note: {note}");
        Console.WriteLine($"{output}: {precision.Name}, {Counted(written)}, read back and compared");
    }

    private static void FromAdapter(ParseResult args, GgufPrecision precision, string adapter, string output)
    {
        if (args.GetValue(_text) is not null)
            throw new InputException($"--imatrix-text goes with models, and {adapter} is an adapter", fix: "leave --imatrix-text out");
        var source = ModelSource.Find(adapter);
        if (source.Adapters.Count > 1)
            throw new InputException($"{adapter} lies over another adapter, {source.Adapters[^2]}",
                why: "llama.cpp lays one over a whole model",
                fix: $"merge both into their model, and convert that: handbook merge {adapter} --out FOLDER");
        var written = GgufAdapter.Write(source.Top, source.Folder, precision, output);
        Console.WriteLine($"{output}: an adapter for the GGUF file of {source.Folder}, {precision.Name}, {Counted(written)}, read "
            + "back and compared");
    }

    private static string Counted(GgufExported written) => string.Join(", ", written.Tensors.Select(tensors =>
        $"{tensors.Count.ToString(CultureInfo.InvariantCulture)} tensor{(tensors.Count == 1 ? "" : "s")} in {tensors.Format.Name}"))
            + $"; {Size.Of(written.Bytes)}";

    private static void FromGguf(ParseResult args, string path, CancellationToken cancel)
    {
        var output = args.GetRequiredValue(_out);
        MergePlace.Require(output, []);
        using var file = GgufFile.Open(path);
        var type = args.GetValue(_dtype) switch
        {
            "float32" => DType.Float32,
            "bfloat16" => DType.BFloat16,
            "float16" => DType.Float16,
            _ => GgufImport.TypeOf(file),
        };
        var family = "";
        using (var bar = new ProgressBar("converting", null, "weights"))
            MergePlace.Write(output, GgufImport.Bytes(file, type), folder =>
                family = GgufImport.Write(file, type, folder, done => bar.Advance(done), cancel));
        Console.WriteLine($"{output}: a {family} model, {type.ToString().ToLowerInvariant()}, read back and compared");
    }

    /// <summary>The same weights in the other format of PyTorch's libraries.</summary>
    private static void Rewrite(ParseResult args, string to, string model, CancellationToken cancel)
    {
        RequireNone(args, _dtype, to, "weights of a folder keep their types");
        var folder = ModelFolder.Find(HubWords.Model(model, cancel));
        if (WeightFormat.IsTorch(folder) == (to == Bin))
            throw new InputException($"the weights of {folder} are {to} already",
                fix: $"copy the folder, or choose another --to: {string.Join(", ",
                Formats.Where(format => format != to))}");
        var output = args.GetRequiredValue(_out);
        MergePlace.Require(output, [("model", folder)]);
        var tensors = 0;
        using (var bar = new ProgressBar("converting", null, "weights"))
            MergePlace.Write(output, WeightFormat.Bytes(folder), place =>
                tensors = WeightFormat.Write(folder, to == Bin, place, done => bar.Advance(done), cancel));
        Console.WriteLine($"{output}: {to}, {tensors.ToString("N0", CultureInfo.InvariantCulture)} tensors, read back and compared");
    }

    private static void RequireNone(ParseResult args, Option<string?> option, string to, string why)
    {
        if (args.GetValue(option) is not null)
            throw new InputException($"{option.Name} does not go with --to {to}", why, $"leave {option.Name} out");
    }

    /// <summary>How much columns count in a text; null where none is named.</summary>
    private static ImportanceMatrix? Importance(ParseResult args, GgufPrecision precision, string folder, CancellationToken cancel)
    {
        if (args.GetValue(_text) is not { } file)
            return null;
        if (!precision.Weighs)
            throw new InputException($"--imatrix-text goes with formats of fewer than 8 bits, and --to is {precision.Name}",
                why: "nothing is chosen there that a text could decide", fix: "leave --imatrix-text out, or choose e.g. --to q4_k_m");
        var text = OptionWords.Text("--imatrix-text", file);
        using var model = LanguageModel.Open(folder);
        using var bar = new ProgressBar("importances", null, "tokens");
        return ImportanceMatrix.Of(model, text, Math.Min(512, model.Network.Config.MaxPositions), done => bar.Advance(done), cancel);
    }

    /// <summary>Where a GGUF file goes.</summary>
    /// <exception cref="InputException">There is one already, or it cannot be a file's name.</exception>
    private static string Target(ParseResult args)
    {
        var output = args.GetRequiredValue(_out);
        if (Directory.Exists(output))
            throw new InputException($"--out {output} is a folder, and a GGUF file is written",
                fix: $"name the file, e.g. --out {Path.Combine(output, "model.gguf")}");
        if (Path.GetExtension(output) != ".gguf")
            throw new InputException($"--out {output} does not end in .gguf", why: "programs know such files by it",
                fix: $"write --out {output}.gguf");
        OutputFile.MustBeNew("--out", output, args.GetValue(_force));
        return output;
    }
}
