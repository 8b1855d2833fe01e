using System.CommandLine;
using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Cli.Progress;
using Handbook.Data.Formats;
using Handbook.Models.Generation;
using Handbook.Training;
using Handbook.Training.Plans;
using Handbook.Training.Sampling;

namespace Handbook.Cli;

/// <summary><c>handbook generate MODEL [PROMPT…] [--prompts FILE]</c></summary>
internal static class GenerateCommand
{
    private static readonly string[] s_own = ["prompt", "answer", "tokens", "finish_reason", "expected", "correct", "row"];

    private sealed record Settings(LanguageModel Model, SamplingOptions Sampling, IReadOnlyList<string> Stops, string? System, bool Raw);

    public static Command Create()
    {
        var model = new ModelWords("folder of the model");
        var prompt = new Argument<string[]>("prompt")
        {
            Description = "what to answer; one is answered on the terminal word by word",
            Arity = ArgumentArity.ZeroOrMore
        };
        var prompts = new Option<string?>("--prompts")
        {
            Description = "many prompts: a .txt with one a line, or a data file or folder with a "
            + "column prompt (text or messages), messages, conversations, chosen, instruction, question or text"
        };
        var split = new Option<string>("--split")
        {
            Description = "with --prompts: the split to read, e.g. test or train[:1%]",
            DefaultValueFactory = _ => "train"
        };
        var system = new Option<string?>("--system") { Description = "what the model is told first, in its system turn" };
        var raw = new Option<bool>("--raw") { Description = "go on from the prompt as it is, also where the model has a chat template" };
        var batch = new Option<int>("--batch-size") { Description = "prompts that are worked on at once", DefaultValueFactory = _ => 16 };
        var output = new Option<string?>("--output")
        {
            Description = "write the answers to this file, as JSON lines; without it they go "
            + "to the standard output"
        };
        var expect = new Option<string?>("--expect")
        {
            Description = "column of --prompts with the right answers; prints how many are "
            + "met exactly"
        };
        var count = new Option<int>("--num-generations", "-n")
        {
            Description = "answers to each prompt; with a temperature above 0",
            DefaultValueFactory = _ => 1,
            HelpName = "N"
        };
        var sampling = new SamplingWords();
        var command = new Command("generate", "Let a model answer: one prompt on the terminal, or a file of them.\n\nExamples:\n"
            + "  handbook generate runs/tiny-sft \"What is the opposite of cold?\"\n"
            + "  handbook generate models/tiny --adapter runs/tiny-lora \"What is the opposite of cold?\"\n"
            + "  handbook generate runs/tiny-cpt --raw \"Once upon a time\" --temperature 0.8\n"
            + "  handbook generate runs/tiny-sft --prompts data/tiny/sft/test.jsonl --expect answer --output answers.jsonl")
        {
            model.Model, prompt, prompts, split, system, raw, count, batch, output, expect,
        };
        model.AddTo(command);
        sampling.AddTo(command);
        // Every tensor lives on the worker's thread; this one stays free to hear Ctrl-C.
        command.SetAction((args, cancel) => Task.Run(() =>
        {
            var read = Prompts(args.GetValue(prompt) ?? [], args.GetValue(prompts), args.GetRequiredValue(split), args.GetValue(expect));
            OutputFile.MustNotReplace("--output", args.GetValue(output), read.Files, "with the prompts");
            foreach (var remark in read.Remarks)
                Console.Error.WriteLine(remark);
            var asked = read.Prompts;
            var (stops, answers) = (sampling.Stops(args), args.GetValue(count));
            if (answers < 1)
                throw new InputException($"--num-generations is {answers}", fix: "use 1 or more");
            var source = model.Source(args);
            using var speaker = LanguageModel.Open(source, sampling.Compute(args),
                load: DevicePlan.Loader(source, new ConsoleObserver(), sampling.Wish(args)));
            foreach (var note in speaker.Notes)
                Console.Error.WriteLine($"note: {note}");
            var settings = new Settings(speaker, sampling.Of(args, speaker) with { BatchSize = args.GetValue(batch) }, stops,
                args.GetValue(system), args.GetValue(raw));
            if (answers > 1 && settings.Sampling.Temperature == 0)
                throw new InputException($"--num-generations {answers} asks for {answers} answers to a prompt, which at temperature 0 "
                    + "are all the same", fix: "add --temperature 1, or ask for one");
            if (asked.Count == 1 && answers == 1 && args.GetValue(prompts) is null && args.GetValue(output) is null)
                Stream(settings, asked[0], cancel);
            else
                Answer(settings, asked, answers, args.GetValue(output), args.GetValue(expect) is not null, cancel);
            return ExitCode.Ok;
        }, CancellationToken.None));
        return command;
    }

    private static PromptFile Prompts(string[] words, string? file, string split, string? expect)
    {
        if (file is not null)
            return words.Length == 0 ? PromptFile.Read(HubWords.Rows(new() { Id = file, Split = split }).Id, expect, split)
                : throw new InputException($"both a prompt and --prompts {file} are given", fix: "leave one of them out");
        if (expect is not null)
            throw new InputException($"--expect {expect} names a column, but there is no file", fix: "add --prompts FILE");
        if (words.Length > 0)
            return new([.. words.Select((word, i) => new Prompt { Text = word, Place = $"prompt {i + 1}" })], [], []);
        return Console.IsInputRedirected && Console.In.ReadToEnd() is { Length: > 0 } piped
            ? new([new Prompt { Text = piped, Place = "standard input" }], [], [])
            : throw new InputException("there is no prompt", fix: "handbook generate MODEL \"your question\", or --prompts FILE");
    }

    private static int[] Encode(Settings settings, Prompt prompt)
    {
        var (model, system) = (settings.Model, settings.System);
        if (settings.Raw || (!model.CanChat && prompt.Messages is null))
        {
            if (system is not null)
                throw new InputException("--system needs a chat template, but "
                    + $"{(settings.Raw ? "--raw leaves it out" : $"{model.Folder} has none")}",
                    fix: "leave --system out, and write everything into the prompt");
            return model.EncodeText(prompt.Text
                ?? throw new InputException($"{prompt.Place}: is a conversation, which --raw cannot go on from", fix: "leave --raw out"));
        }
        var messages = prompt.Messages is { } given ? JsonNode.Parse(given.GetRawText())!.AsArray()
            : [new JsonObject { ["role"] = "user", ["content"] = prompt.Text }];
        if (system is not null && (string?)messages[0]!["role"] != "system")
            messages.Insert(0, new JsonObject { ["role"] = "system", ["content"] = system });
        return model.EncodeChat(JsonSerializer.SerializeToElement(messages), prompt.Inputs);
    }

    private static void WarnOfLength(Settings settings, int[][] prompts)
    {
        if (LengthCheck.Prompts(prompts, settings.Model.Network.Config) is { } tooLong)
            Console.Error.WriteLine($"warning: {tooLong}");
    }

    private static AnswerText TextOf(Settings settings, int[] ids) =>
        new(settings.Model.Tokenizer, settings.Stops, settings.Raw || !settings.Model.CanChat ? ids : []);

    private const string Part = ".part";

    private static StreamWriter OpenPart(string output)
    {
        if (Directory.Exists(output))
            throw new InputException($"--output {output} is a folder",
                fix: $"name a file, e.g. --output {Path.Combine(output, "answers.jsonl")}");
        try
        {
            if (Path.GetDirectoryName(Path.GetFullPath(output)) is { } folder)
                Directory.CreateDirectory(folder);
            return new StreamWriter(output + Part);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"--output {output} cannot be written ({failure.Message})",
                fix: "name a file in a folder that you may write to", inner: failure);
        }
    }

    private static void Stream(Settings settings, Prompt prompt, CancellationToken cancel)
    {
        var ids = Encode(settings, prompt);
        WarnOfLength(settings, [ids]);
        var text = TextOf(settings, ids);
        var clock = Stopwatch.StartNew();
        try
        {
            var answer = new Generator(settings.Model.Network).Generate([ids], settings.Sampling, (_, token) =>
            {
                Show(text.Append(token));
                return !text.Stopped;
            }, cancel: cancel)[0];
            Show(text.Finish());
            Console.Error.Flush();
            Console.Out.WriteLine();
            Console.Error.WriteLine($"{answer.Tokens.Length} tokens, {answer.Tokens.Length / clock.Elapsed.TotalSeconds:0.0} "
                + $"tokens/s{(answer.Finish == FinishReason.Length ? "; cut at its greatest length (--max-new-tokens)" : "")}");
        }
        catch (OperationCanceledException)
        {
            Console.Out.WriteLine();
            throw;
        }

        static void Show(string more)
        {
            Console.Out.Write(more);
            Console.Out.Flush();
        }
    }

    private static void Answer(Settings settings, IReadOnlyList<Prompt> prompts, int answers, string? output, bool scored,
        CancellationToken cancel)
    {
        var ids = prompts.Select(prompt => Encode(settings, prompt)).ToArray();
        WarnOfLength(settings, ids);
        var texts = ids.SelectMany(prompt => Enumerable.Range(0, answers).Select(_ => TextOf(settings, prompt))).ToArray();
        var lines = new string?[texts.Length];
        var (right, written) = (0, 0);
        var part = output is null ? null : output + Part;
        using (var writer = output is null ? null : OpenPart(output))
        using (var bar = new ProgressBar("answering", lines.Length, "answers"))
        {
            // The first answers are the same however many are asked for.
            var requests = ids.Select((prompt, i) => new SampleRequest(prompt,
                [.. Enumerable.Range(0, answers).Select(k => (long)k * ids.Length + i)])).ToArray();
            new Generator(settings.Model.Network).Sample(requests, settings.Sampling, (prompt, k, token) =>
            {
                var text = texts[prompt * answers + k];
                text.Append(token);
                return !text.Stopped;
            }, (prompt, k, answer) =>
            {
                var row = prompt * answers + k;
                texts[row].Finish();
                var correct = prompts[prompt].Expected is { } expected ? texts[row].Text.Trim() == expected : (bool?)null;
                right += correct == true ? 1 : 0;
                lines[row] = Line(prompts[prompt], texts[row].Text, answer, correct);
                for (; written < lines.Length && lines[written] is { } line; written++)     // in the order of the prompts
                    (writer ?? Console.Out).WriteLine(line);
                bar.Advance();
            }, cancel);
        }
        if (part is not null)
            WholeFile.Publish(part, output!);
        if (scored)
            Console.Out.WriteLine($"accuracy {(double)right / lines.Length:0.000} ({right} of {lines.Length})");
    }

    /// <summary>What is written of one answer: the columns of its prompt's row, such as ids, and then the answer. Columns that a reader of
    /// the file would take for the prompt, the answer or a verdict on it stand below <c>row</c>.</summary>
    private static string Line(Prompt prompt, string text, Answer answer, bool? correct)
    {
        var (line, row) = (new JsonObject(), new JsonObject());
        foreach (var column in prompt.Row?.EnumerateObject() ?? [])
            (RowReader.Reads(column.Name) || s_own.Contains(column.Name) ? row
                : line)[column.Name] = JsonNode.Parse(column.Value.GetRawText());
        line["prompt"] = prompt.Messages is { } messages ? JsonNode.Parse(messages.GetRawText()) : prompt.Text;
        line["answer"] = text;
        line["tokens"] = answer.Tokens.Length;
        line["finish_reason"] = answer.Finish == FinishReason.Stop ? "stop" : "length";
        if (correct is not null)
            (line["expected"], line["correct"]) = (prompt.Expected, correct);
        if (row.Count > 0)
            line["row"] = row;
        return line.ToJsonString(TokenizerCommand.Readable);
    }
}
