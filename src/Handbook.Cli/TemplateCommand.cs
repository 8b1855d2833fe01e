using System.CommandLine;
using System.Text.Json;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Models;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Cli;

/// <summary><c>handbook template render|check</c>: what a chat template makes of a conversation.</summary>
internal static partial class TemplateCommand
{
    private const string Sample = """
        [
          {"role": "system", "content": "You are a helpful assistant."},
          {"role": "user", "content": "What is the capital of France?"},
          {"role": "assistant", "content": "Paris."},
          {"role": "user", "content": "And of Japan?"},
          {"role": "assistant", "content": "Tokyo."}
        ]
        """;

    internal static Command Create() => new("template", "Render a chat template, or check one: render, check")
    {
        Render(),
        TemplateCheckCommand.Create(),
    };

    /// <summary>The options that say which template: a file, or the folder of a model.</summary>
    internal static (Option<FileInfo?> Template, Option<string?> Tokenizer) Source() => (
        new("--template", "-t") { Description = "the template: a .jinja file" },
        new("--tokenizer") { Description = "a model folder whose template and special tokens to use" });

    private static Command Render()
    {
        var (template, tokenizer) = Source();
        var messages = new Option<string?>("--messages",
            "-m")
        {
            Description = "JSON file with a list of messages, or an object with messages, tools, documents …; - reads standard "
                + "input. Without it, a sample of five turns"
        };
        var prompt = new Option<bool>("--add-generation-prompt", "-g") { Description = "end with the opening of an assistant turn" };
        var resume = new Option<bool>("--continue-final-message") { Description = "leave the final message open" };
        var tools = new Option<FileInfo?>("--tools") { Description = "JSON file with a list of tool schemas" };
        var variables = new Option<string[]>("--var")
        { Description = "a variable for the template as key=JSON, e.g. enable_thinking=false; may be repeated" };
        var spans = new Option<bool>("--show-spans")
        { Description = "colour what the assistant says, which is what assistant_only_loss trains on; lists the spans on standard error" };
        var command = new Command("render", """
            Prints a conversation as the model sees it.

            Examples:
              handbook template render --tokenizer models/tiny --show-spans
              handbook template render --template chatml.jinja --messages chat.json --add-generation-prompt
              echo '[{"role": "user", "content": "Hi"}]' | handbook template render -t zephyr.jinja -m - --var eos_token='"</s>"'
            """) { template, tokenizer, messages, prompt, resume, tools, variables, spans };
        command.SetAction(args =>
        {
            var (chatTemplate, owner) = Load(args.GetValue(template), args.GetValue(tokenizer));
            var conversation = ReadConversation(args.GetValue(messages), args.GetValue(tools), args.GetValue(variables) ?? []);
            var options = new RenderOptions
            {
                AddGenerationPrompt = args.GetValue(prompt),
                ContinueFinalMessage = args.GetValue(resume),
                SpecialTokens = owner?.SpecialTokens ?? new Dictionary<string, string>(),
                Now = DateTime.Now,
            };
            conversation = chatTemplate.Fitted(conversation, options);      // as training does
            var rendered = chatTemplate.Render(conversation, options);
            if (args.GetValue(spans))
                WriteSpans(rendered.Text,
                    chatTemplate.AssistantSpans(conversation, options, rendered, SpecialPlaces(rendered.Text, owner)));
            else
                Console.Out.Write(rendered.Text);
            if (!Console.IsOutputRedirected && !rendered.Text.EndsWith('\n'))
                Console.Out.WriteLine();
        });
        return command;
    }

    internal static (ChatTemplate Template, Tokenizer? Tokenizer) Load(FileInfo? file, string? folder)
    {
        var tokenizer = folder is null ? null : Tokenizer.Load(HubWords.Tokenizer(folder));
        if (file is not null)
            return (ChatTemplate.Parse(ReadFile(file.ToString()), file.ToString()), tokenizer);
        if (tokenizer is null)
            throw new InputException("no template is given", fix: "name one: --template FILE, or --tokenizer FOLDER");
        if (tokenizer.ChatTemplates.Count == 0)
            Console.Error.WriteLine($"{folder} has no chat template; using the built-in Zephyr template");
        return (ChatTemplate.Choose(null, tokenizer), tokenizer);
    }

    private static Conversation ReadConversation(string? path, FileInfo? toolFile, string[] variables)
    {
        if (path is null)
            Console.Error.WriteLine("no --messages given: this is a sample conversation");
        var name = path ?? "sample";
        var root = ReadJson(path switch { null => Sample, "-" => Console.In.ReadToEnd(), _ => ReadFile(path) },
            path == "-" ? "standard input" : name);
        var values = new Dictionary<string, JsonElement>();
        var messages = root;
        JsonElement? tools = null, documents = null;
        if (root.ValueKind == JsonValueKind.Object)
        {
            if (!root.TryGetProperty("messages", out messages))
                throw new InputException($"{name}: the object has no key messages",
                    fix: """write {"messages": [{"role": "user", "content": "…"}]}, or the list alone""");
            foreach (var property in root.EnumerateObject())
                values[property.Name] = property.Value;
            values.Remove("messages");
            tools = Take("tools");
            documents = Take("documents");
        }
        if (toolFile is not null)
            tools = ReadJson(ReadFile(toolFile.ToString()), toolFile.ToString());
        foreach (var variable in variables)
        {
            var sign = variable.IndexOf('=');
            if (sign <= 0)
                throw new InputException($"--var {variable}: is not key=JSON", fix: "write for example --var enable_thinking=false");
            values[variable[..sign]] = ReadJson(variable[(sign + 1)..], $"--var {variable[..sign]}");
        }
        return new() { Messages = messages, Tools = tools, Documents = documents, Variables = values };

        JsonElement? Take(string key) => values.Remove(key, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
    }

    private static string ReadFile(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception problem) when (problem is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new InputException($"{path}: there is no such file",
                fix: $"ls {Path.GetDirectoryName(Path.GetFullPath(path))}", inner: problem);
        }
    }

    private static JsonElement ReadJson(string text, string name)
    {
        try
        {
            return JsonElement.Parse(text);
        }
        catch (JsonException problem)
        {
            throw new InputException($"{name}:{problem.LineNumber + 1}:{problem.BytePositionInLine + 1}: is not "
                + $"JSON: {JsonMistake.Of(problem)}",
                fix: name.StartsWith("--var", StringComparison.Ordinal) ? "put texts in double quotes: --var name='\"text\"'"
                    : "check the file with: python3 -m json.tool FILE", inner: problem);
        }
    }

    /// <summary>Where special tokens stand, in code points: those of the tokenizer, or without one what looks like them.</summary>
    internal static List<(int Start, int End)> SpecialPlaces(string text, Tokenizer? tokenizer)
    {
        if (tokenizer is not null)
        {
            var (ids, offsets) = tokenizer.EncodeWithOffsets(text, addSpecialTokens: false);
            return [.. offsets.Where((range, i) => range.End > range.Start && tokenizer.IsSpecial(ids[i]))];
        }
        var places = new List<(int, int)>();
        int at = 0, points = 0;
        foreach (Match match in SpecialPattern().Matches(text))
        {
            points += CodePoints(text.AsSpan(at, match.Index - at));
            var length = CodePoints(match.Value);
            places.Add((points, points + length));
            points += length;
            at = match.Index + match.Length;
        }
        return places;
    }

    private static void WriteSpans(string text, IReadOnlyList<(int Start, int End)> spans)
    {
        var colours = !Console.IsOutputRedirected && Environment.GetEnvironmentVariable("NO_COLOR") is null or "";
        int at = 0, points = 0;
        foreach (var (start, end) in spans.Where(span => span.Start >= points))     // a block within a block is coloured with it
        {
            Console.Out.Write(Next(start));
            var inside = Next(end);
            Console.Out.Write(colours ? $"\e[32m{inside}\e[0m" : inside);
        }
        Console.Out.Write(text[at..]);
        Console.Out.Flush();
        foreach (var (start, end) in spans)
            Console.Error.WriteLine($"characters {start}–{end} carry loss");
        if (spans.Count == 0)
            Console.Error.WriteLine("no assistant turn: nothing carries loss");

        // the text up to a code point
        string Next(int point)
        {
            var from = at;
            for (; points < point && at < text.Length; points++)
                at += char.IsSurrogatePair(text, at) ? 2 : 1;
            return text[from..at];
        }
    }

    private static int CodePoints(ReadOnlySpan<char> text)
    {
        var count = 0;
        foreach (var _ in text.EnumerateRunes())
            count++;
        return count;
    }

    [GeneratedRegex(@"<\|[^<>|\s]+\|>|</?s>|<(?:bos|eos|end_of_turn|start_of_turn)>|\[/?INST\]")]
    private static partial Regex SpecialPattern();
}
