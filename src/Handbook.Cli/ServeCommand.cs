using System.CommandLine;
using System.Net;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Models.Serving;
using Handbook.Server;
using Handbook.Serving;
using Handbook.Training.Plans;

namespace Handbook.Cli;

/// <summary><c>handbook serve MODEL [--adapter NAME=FOLDER]…</c></summary>
internal static class ServeCommand
{
    private const string KeyVariable = "HANDBOOK_API_KEY";

    private sealed class Words
    {
        public readonly Argument<string> Model = new("model")
        { Description = "folder of the model; an adapter's folder means what lies below it, too" };
        public readonly Option<string[]> Adapters = new("--adapter")
        {
            Description = "an adapter that is asked by a name of its own, beside the model; may be repeated",
            HelpName = "NAME=FOLDER",
            AllowMultipleArgumentsPerToken = false,
        };
        public readonly Option<string?> Name = new("--name")
        { Description = "what clients call the model; without it the last part of its folder's name" };
        public readonly ListenWords Listen = new(8000, "0.0.0.0 lets other machines in");
        public readonly Option<string?> Key = new("--api-key")
        { Description = $"key that clients must send; others see it in the list of processes, so rather set {KeyVariable}" };
        public readonly Option<string?> KeyFile = new("--api-key-file")
        { Description = "file whose first line is the key", HelpName = "FILE" };
        public readonly Option<string[]> Origins = new("--allow-origin")
        {
            Description = "pages of this origin may ask from a browser, e.g. http://localhost:3000; may be repeated",
            HelpName = "ORIGIN",
            AllowMultipleArgumentsPerToken = false,
        };
        public readonly Option<int> Batch = new("--max-batch")
        { Description = "answers that are made at the same time", DefaultValueFactory = _ => 16 };
        public readonly Option<int> Waiting = new("--max-waiting")
        { Description = "requests that may wait; one more is told to try again later", DefaultValueFactory = _ => 128 };
        public readonly Option<int?> Context = new("--context")
        { Description = "most tokens of a prompt with its answer; without it as many as the model was made for" };
        public readonly Option<int> Answer = new("--max-new-tokens")
        { Description = "most tokens of a chat's answer where neither the request nor the model says", DefaultValueFactory = _ => 1024 };
        public readonly Option<string?> Memory = new("--cache-memory")
        {
            Description = "for keys and values of running and earlier texts, e.g. 2GB; without it a quarter of the memory of the machine, or of "
                + "the GPU where the model lies there",
            HelpName = "SIZE"
        };
        public readonly Option<string> Body = new("--max-body")
        { Description = "largest request", DefaultValueFactory = _ => "4MB", HelpName = "SIZE" };
        public readonly Option<double> Timeout = new("--timeout")
        { Description = "seconds after which a request is ended", DefaultValueFactory = _ => 600 };
        public readonly Option<double> Grace = new("--grace")
        { Description = "seconds that running answers have when the server is stopped", DefaultValueFactory = _ => 30 };
        public readonly Option<string> Pooling = new("--pooling")
        {
            Description = "how a text's last hidden states become its embedding: their mean, or that of the last token",
            DefaultValueFactory = _ => "mean"
        };
        public readonly Option<string> DType = OptionWords.Precision();
        public readonly Option<bool> UseCpu = OptionWords.UseCpu();

        public IEnumerable<Option> Options =>
            [Adapters, Name, .. Listen.Options, Key, KeyFile, Origins, Batch, Waiting, Context, Answer, Memory, Body, Timeout, Grace, Pooling, DType,
                UseCpu];
    }

    public static Command Create()
    {
        var words = new Words();
        words.Pooling.AcceptOnly("mean", "last");
        var command = new Command("serve", """
            Answer many clients over HTTP, in the form of OpenAI's interface.

            Examples:
              handbook serve runs/tiny-sft
              handbook serve models/tiny --adapter french=runs/french-lora --adapter polite=runs/polite-lora
              HANDBOOK_API_KEY=… handbook serve runs/tiny-sft --host 0.0.0.0

            Ask it:
              curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \
                -d '{"model": "tiny-sft", "messages": [{"role": "user", "content": "What is the opposite of cold?"}]}'

            Every client of OpenAI's interface does, with the address http://127.0.0.1:8000/v1: /v1/chat/completions, /v1/completions,
            /v1/embeddings, /v1/models; streams, n, stop, seed, logprobs, tools, response_format. The field "model" names the model, or one
            of its adapters. /health says that it lives, /metrics what it does, for Prometheus. Ctrl-C lets running answers end, then stops. Where OTEL_EXPORTER_OTLP_ENDPOINT names a collector of
            OpenTelemetry, traces and numbers are sent there.
            """.ReplaceLineEndings("\n")) { words.Model };
        foreach (var option in words.Options)
            command.Options.Add(option);
        command.SetAction((args, cancel) => Run(args, words, cancel));
        return command;
    }

    private static async Task<int> Run(ParseResult args, Words words, CancellationToken cancel)
    {
        var options = Options(args, words);
        using var telemetry = Telemetry.Begin(Console.Error.WriteLine);
        var source = Models.ModelSource.Find(HubWords.Model(args.GetRequiredValue(words.Model), cancel));
        var adapters = (args.GetValue(words.Adapters) ?? []).Select(Adapter).ToArray();
        var observer = new ConsoleObserver();
        using var models = ServedModels.Open(source, args.GetValue(words.Name), adapters,
            args.Compute(words.DType), args.AtLeastOne(words.Context, "leave it out for as many as the model was made for"), new EngineOptions
            {
                MaxRows = args.AtLeastOne(words.Batch),
                MaxWaiting = args.AtLeastOne(words.Waiting),
                CacheBytes = args.GetValue(words.Memory) is { } memory ? Math.Max(1, (long)Quantity.Bytes(words.Memory.Name, memory)) : 0,
            }, observer, load: DevicePlan.Loader(source, observer, args.Wish(words.UseCpu)));
        foreach (var note in models.Notes)
            Console.Error.WriteLine($"note: {note}");
        if (!IPAddress.IsLoopback(options.Host))
            Console.Error.WriteLine($"warning: other machines can reach {options.Host}, and what they send is not encrypted; "
                + (options.ApiKey is null ? $"there is no key, so everybody may ask (set {KeyVariable})" : "put a proxy with TLS before it"));
        await using var server = await ApiServer.Start(models, options);
        Console.Out.WriteLine($"{server.Address.ToString().TrimEnd('/')}/v1 serves "
            + string.Join(", ", models.All.Select(model => model.Name)));
        Console.Out.Flush();
        try
        {
            await Task.Delay(Timeout.Infinite, cancel);
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine($"stopping: running answers have {options.Grace.TotalSeconds:0.#} s");
        }
        await server.Stop();
        telemetry?.Dispose();       // what is left is sent while the server still has its numbers
        return ExitCode.Ok;         // this is how a server ends
    }

    private static ServerOptions Options(ParseResult args, Words words)
    {
        var (host, port) = words.Listen.Of(args);
        foreach (var origin in args.GetValue(words.Origins) ?? [])
            if (!Uri.TryCreate(origin, UriKind.Absolute, out var uri) || uri.GetLeftPart(UriPartial.Authority) != origin)
                throw new InputException($"--allow-origin is {origin}, but must be an origin",
                    why: "a browser names the page's scheme, host and port, and nothing else",
                    fix: "for example --allow-origin http://localhost:3000");
        return new()
        {
            Host = host,
            Port = port,
            ApiKey = KeyOf(args, words),
            AllowedOrigins = args.GetValue(words.Origins) ?? [],
            MaxBody = (long)Quantity.Bytes(words.Body.Name, args.GetRequiredValue(words.Body)),
            DefaultAnswer = args.AtLeastOne(words.Answer),
            Timeout = Seconds(args, words.Timeout),
            Grace = Seconds(args, words.Grace),
            Say = Console.Error.WriteLine,
            Pooling = args.GetValue(words.Pooling) == "last" ? Pooling.Last : Pooling.Mean,
        };
    }

    private static string? KeyOf(ParseResult args, Words words)
    {
        var (key, file) = (args.GetValue(words.Key), args.GetValue(words.KeyFile));
        if (key is not null && file is not null)
            throw new InputException("both --api-key and --api-key-file are given", fix: "leave one of them out");
        var (said, place) = key is not null ? (key, "--api-key")
            : file is not null ? (File.ReadLines(file).FirstOrDefault() ?? "", $"--api-key-file {file}")
            : (Environment.GetEnvironmentVariable(KeyVariable), KeyVariable);
        return said is null ? null : said.Trim() is { Length: > 0 } good && good.All(c => c is > ' ' and < '\x7f') ? good
            : throw new InputException($"{place} holds no key", why: "a key is sent in a header: visible ASCII characters without spaces",
                fix: "make one with `openssl rand -hex 24`, or leave it out");
    }

    private static NamedAdapter Adapter(string word) => word.Split('=', 2) is [{ Length: > 0 } name, { Length: > 0 } folder]
        ? new(name, HubWords.Model(folder))
        : throw new InputException($"--adapter is {word}, but must be NAME=FOLDER", why: "clients ask for an adapter by its name",
            fix: $"for example --adapter {(word.Length > 0 ? Path.GetFileName(word.TrimEnd('/')) : "french")}={(word.Length > 0 ? word : "runs/french-lora")}");

    private static TimeSpan Seconds(ParseResult args, Option<double> option)
    {
        var value = args.GetValue(option);
        return value is > 0 and < 1e6 ? TimeSpan.FromSeconds(value)
            : throw new InputException($"{option.Name} is {value}, but must be greater than 0", fix: "leave it out");
    }
}
