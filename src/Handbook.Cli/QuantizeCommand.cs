using System.CommandLine;
using System.Globalization;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Models.Quantised;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Cli;

/// <summary><c>handbook quantize MODEL --to nf4 --output DIR [--double] [--text FILE]</c></summary>
internal static class QuantizeCommand
{
    private static readonly Argument<string> _model = new("model") { Description = "folder of the model" };
    private static readonly Option<string> _to = new("--to")
    {
        Description = "nf4 or fp4: four bits a weight and a scale for each 64; int8: eight bits and a scale for each row",
        Required = true
    };
    private static readonly Option<string> _output = new("--output", "-o", "--out")
    {
        Description = "folder for the new model, in bitsandbytes' layout",
        Required = true,
        HelpName = "DIR"
    };
    private static readonly Option<bool> _double = new("--double")
    { Description = "keep the scales of nf4 or fp4 in eight bits too: 0.52 bytes a weight instead of 0.56" };
    private static readonly Option<string?> _text = new("--text")
    { Description = "a text file: print how much worse the new model predicts it", HelpName = "FILE" };
    private static readonly Option<int> _maxLength = new("--max-length")
    { Description = "tokens of the text that are read at once", DefaultValueFactory = _ => 1024, HelpName = "N" };
    private static readonly Option<string> _dtype = new("--dtype")
    { Description = "element type of products, here and for whoever opens the model", DefaultValueFactory = _ => "float32" };
    private static readonly Option<bool> _force = new("--force") { Description = "replace a model that is already in the output folder" };

    public static Command Create()
    {
        _to.AcceptOnly("nf4", "fp4", "int8");
        _dtype.AcceptOnly("float32", "bfloat16");
        var command = new Command("quantize", "Write a model with its linear weights as codes of 4 or 8 bits\n\nExamples:\n"
            + "  handbook quantize runs/tiny-sft --to nf4 --double -o runs/tiny-sft-nf4\n"
            + "  handbook quantize runs/tiny-sft --to int8 -o runs/tiny-sft-int8 --text held-out.txt")
        {
            _model, _to, _double, _output, _text, _maxLength, _dtype, _force,
        };
        command.SetAction((args, cancel) => Task.Run(() => Run(args, cancel), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult args, CancellationToken cancel)
    {
        var format = new QuantisedFormat(args.GetRequiredValue(_to) switch
        {
            "nf4" => QuantisedKind.Nf4,
            "fp4" => QuantisedKind.Fp4,
            _ => QuantisedKind.Int8,
        }, args.GetValue(_double));
        if (format is { Kind: QuantisedKind.Int8, Double: true })
            throw new InputException("--double and --to int8 are both given", why: "int8 has one scale for each row, which takes no room",
                fix: "leave --double out");
        var output = args.GetRequiredValue(_output);
        if (!args.GetValue(_force) && ModelFolder.Holds(output))
            throw new InputException($"{output} already holds a model", fix: "choose another --output, or add --force to replace it");
        var folder = ModelFolder.Find(HubWords.Model(args.GetRequiredValue(_model), cancel));
        if (RealPath.Of(folder) == RealPath.Of(output))
            throw new InputException($"--output names the model itself, {output}", fix: "choose another folder");
        var text = args.GetValue(_text) is { } file ? OptionWords.Text("--text", file) : null;
        if (args.GetValue(_maxLength) < 2)
            throw new InputException($"--max-length is {args.GetValue(_maxLength)}", fix: "use 2 or more");
        var compute = args.GetValue(_dtype) == "bfloat16" ? DType.BFloat16 : DType.Float32;

        var before = text is null ? default : Perplexity(folder, text, compute, args.GetValue(_maxLength), "before", cancel);
        QuantisedFolder written;
        using (var bar = new ProgressBar("quantising", null, "weights"))
            written = QuantisedFolder.Write(folder, format, compute, output, done => bar.Advance(done));
        Console.WriteLine($"{output}: {format}: {written.Matrices} matrices with {Number(written.Weights)} weights; "
            + $"{Size.Of(written.BytesBefore)} before, {Size.Of(written.BytesNow)} now");
        if (text is null)
            return ExitCode.Ok;
        var now = Perplexity(output, text, compute, args.GetValue(_maxLength), "now", cancel);
        Console.WriteLine($"perplexity of {args.GetValue(_text)} ({Number(now.Tokens)} tokens): "
            + string.Create(CultureInfo.InvariantCulture, $"{before.Value:0.000} before, {now.Value:0.000} now ")
            + string.Create(CultureInfo.InvariantCulture, $"({(now.Value / before.Value - 1) * 100:+0.00;-0.00;0.00} %)"));
        return ExitCode.Ok;
    }

    private static TextPerplexity Perplexity(string folder, string text, DType compute, int maxLength, string when,
        CancellationToken cancel)
    {
        using var model = LanguageModel.Open(folder, compute);
        using var bar = new ProgressBar($"perplexity {when}", null, "tokens");
        return TextPerplexity.Of(model, text, Math.Min(maxLength, model.Network.Config.MaxPositions), done => bar.Advance(done), cancel);
    }

    private static string Number(long value) => value.ToString("N0", CultureInfo.InvariantCulture);
}
