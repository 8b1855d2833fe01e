using System.CommandLine;
using System.Globalization;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Models.Gguf;

namespace Handbook.Cli;

/// <summary><c>handbook convert MODEL --to FORMAT --out PATH</c></summary>
internal static class ConvertCommand
{
    private static readonly Argument<string> _model = new("model") { Description = "folder of the model, or its name on the hub" };
    private static readonly Option<string> _to = new("--to")
    {
        Description = $"a GGUF file for llama.cpp, with its weights in {string.Join(", ", Precisions)}",
        Required = true,
        HelpName = "FORMAT"
    };
    private static readonly Option<string> _out = new("--out", "-o")
    { Description = "the file to write", Required = true, HelpName = "PATH" };
    private static readonly Option<string?> _text = new("--imatrix-text")
    {
        Description = "a text file, some ten thousand words of what the model is for: weights that count in it are rounded with more care, "
            + "in formats of fewer than 8 bits",
        HelpName = "FILE"
    };
    private static readonly Option<bool> _force = new("--force") { Description = "replace a file that is there" };

    private static IEnumerable<string> Precisions => GgufPrecision.All.Select(precision => precision.Name);

    public static Command Create()
    {
        var command = new Command("convert", "Write a model in another program's format\n\nExamples:\n"
            + "  handbook convert runs/tiny-sft --to f16 --out tiny-sft.gguf\n"
            + "  handbook convert runs/tiny-sft --to q4_k_m --imatrix-text texts.txt --out tiny-sft-q4_k_m.gguf\n\n"
            + "The file holds the weights, the tokenizer, the chat template and the special tokens. It is read back and compared before it\n"
            + "gets its name.")
        {
            _model, _to, _out, _text, _force,
        };
        command.SetAction((args, cancel) => Task.Run(() => Run(args, cancel), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult args, CancellationToken cancel)
    {
        var precision = Precision(args.GetRequiredValue(_to));
        var output = Target(args);
        var folder = ModelFolder.Find(HubWords.Model(args.GetRequiredValue(_model), cancel));
        var importance = Importance(args, precision, folder, cancel);
        GgufExported written;
        using (var bar = new ProgressBar("converting", null, "weights"))
            written = GgufExport.Write(folder, precision, output, importance, done => bar.Advance(done), cancel);
        foreach (var note in written.Notes)
            Console.Error.WriteLine($"note: {note}");
        Console.WriteLine($"{output}: {precision.Name}, {string.Join(", ", written.Tensors.Select(Counted))}; {Size.Of(written.Bytes)}, "
            + "read back and compared");
        return ExitCode.Ok;

        static string Counted((BlockFormat Format, int Count) tensors) =>
            $"{tensors.Count.ToString(CultureInfo.InvariantCulture)} tensor{(tensors.Count == 1 ? "" : "s")} in {tensors.Format.Name}";
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

    private static GgufPrecision Precision(string to) => GgufPrecision.All.FirstOrDefault(one => one.Name == to.ToLowerInvariant()) ?? throw (to
        .ToLowerInvariant() is "onnx" ? new InputException("--to onnx: no ONNX file is written",
            why: "ONNX holds one fixed graph for each family, and its runtimes for language models read graphs that their own exporters make; a "
                + "graph of ours would open in none of them with its cache of keys and values",
            fix: "export the folder with Optimum: optimum-cli export onnx --model FOLDER OUT; or write a GGUF file: --to f16")
        : new($"--to {to} is no format that is written", why: $"these are: {string.Join(", ", Precisions)}",
            fix: $"{(Spelling.Nearest(to, Precisions) is { } near ? $"did you mean {near}? " : "")}--to f16 keeps 16 bits of every weight"));

    /// <summary>Where the file goes.</summary>
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
        return !File.Exists(output) || args.GetValue(_force) ? output
            : throw new InputException($"--out {output} is there already", fix: "choose another name, or add --force to replace it");
    }
}
