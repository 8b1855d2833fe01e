using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using Handbook.Base;
using Handbook.Models;
using Handbook.Text.Tokenizers;
using Spectre.Console;

namespace Handbook.Cli;

/// <summary><c>handbook tokenizer encode|decode|inspect|train|add|bench</c>: look inside a tokenizer, or make one.</summary>
internal static class TokenizerCommand
{
    internal static readonly JsonSerializerOptions Readable = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    internal static Command Create() => new("tokenizer", "Look inside a tokenizer, train one, or add tokens: encode, decode, inspect, train, add, bench")
    {
        Encode(),
        Decode(),
        TokenizerInspectCommand.Create(),
        TokenizerTrainCommand.Create(),
        TokenizerAddCommand.Create(),
        TokenizerBenchCommand.Create(),
    };

    internal static Argument<string> Path() =>
        new("tokenizer") { Description = "folder of a model, or its tokenizer.json (also .json.gz)" };

    private static Command Encode()
    {
        var path = Path();
        var text = new Argument<string?>("text")
        {
            Description = "the text; without it, standard input is read as it is",
            Arity = ArgumentArity.ZeroOrOne
        };
        var plain = new Option<bool>("--no-special-tokens") { Description = "only the text: no begin or end tokens around it" };
        var json = new Option<bool>("--json") { Description = "one JSON object instead of a table: {\"ids\", \"tokens\", \"offsets\"}" };
        var command = new Command("encode", "Text to tokens: id, token, and the characters (code points) of the text that each covers.\n\n"
            + "Examples:\n  handbook tokenizer encode models/tiny \"Hello, world!\"\n  cat story.txt | handbook tokenizer encode "
                + "models/tiny --json") { path, text, plain, json };
        command.SetAction(args =>
        {
            var tokenizer = Tokenizer.Load(HubWords.Tokenizer(args.GetRequiredValue(path)));
            var input = args.GetValue(text) ?? Console.In.ReadToEnd();
            var encoding = tokenizer.EncodeWithOffsets(input, addSpecialTokens: !args.GetValue(plain));
            if (args.GetValue(json))
                WriteJson(tokenizer, encoding);
            else
                WriteTable(tokenizer, encoding, input);
        });
        return command;
    }

    private static Command Decode()
    {
        var path = Path();
        var ids = new Argument<string[]>("ids")
        {
            Description = "ids, apart by spaces or commas; without them, standard input is read",
            Arity = ArgumentArity.ZeroOrMore
        };
        var skip = new Option<bool>("--skip-special-tokens") { Description = "leave special tokens out of the text" };
        var command = new Command("decode",
            "Ids to text.\n\nExamples:\n  handbook tokenizer decode models/tiny 15496 11 995\n  echo \"[15496, 11, 995]\" | handbook "
                + "tokenizer decode models/tiny") { path, ids, skip };
        command.SetAction(args =>
        {
            var tokenizer = Tokenizer.Load(HubWords.Tokenizer(args.GetRequiredValue(path)));
            var given = args.GetValue(ids) is { Length: > 0 } listed ? string.Join(' ', listed) : Console.In.ReadToEnd();
            Console.Out.WriteLine(tokenizer.Decode(ReadIds(given, tokenizer), args.GetValue(skip)));
        });
        return command;
    }

    private static int[] ReadIds(string text, Tokenizer tokenizer)
    {
        var words = text.Split([' ', ',', '[', ']', '\n', '\r', '\t'], StringSplitOptions.RemoveEmptyEntries);
        var ids = new int[words.Length];
        for (var i = 0; i < words.Length; i++)
        {
            if (!int.TryParse(words[i], out ids[i]))
                throw new InputException($"\"{words[i]}\" (number {i + 1} of {words.Length}) is not an id", "ids are whole numbers",
                    "handbook tokenizer decode TOKENIZER 15496 11 995");
            if (tokenizer.IdToToken(ids[i]) is null)
                throw new InputException($"id {ids[i]} (number {i + 1} of {words.Length}) is not in the vocabulary "
                    + $"of {tokenizer.VocabularySize} tokens", "it has no text", "check that the ids come from this tokenizer");
        }
        return ids;
    }

    private static void WriteJson(Tokenizer tokenizer, Encoding encoding) => Console.Out.WriteLine(JsonSerializer.Serialize(new
    {
        ids = encoding.Ids,
        tokens = encoding.Ids.Select(tokenizer.IdToToken),
        offsets = encoding.Offsets.Select(range => new[] { range.Start, range.End }),
    }, Readable));

    private static void WriteTable(Tokenizer tokenizer, Encoding encoding, string text)
    {
        // offsets count code points, strings count UTF-16 units
        var units = new List<int>(text.Length + 1);
        for (var i = 0; i < text.Length; i += char.IsHighSurrogate(text[i]) && i + 1 < text.Length
            && char.IsLowSurrogate(text[i + 1]) ? 2 : 1)
            units.Add(i);
        units.Add(text.Length);
        var table = new Table().Border(TableBorder.None).HideFooters();
        foreach (var column in new[] { "#", "id", "token", "characters", "text" })
            table.AddColumn(new TableColumn(column)
            {
                Alignment = column is "#" or "id" or "characters" ? Justify.Right
                : Justify.Left,
                NoWrap = true
            });
        for (var i = 0; i < encoding.Ids.Length; i++)
        {
            var (start, end) = encoding.Offsets[i];
            var special = tokenizer.IsSpecial(encoding.Ids[i]);
            table.AddRow($"{i}", $"{encoding.Ids[i]}", Markup.Escape(Show(tokenizer.IdToToken(encoding.Ids[i]) ?? "")),
                special && start == end ? "" : $"{start}–{end}",
                special && start == end ? "(special)" : Markup.Escape(Show(text[units[start]..units[end]])));
        }
        AnsiConsole.Write(table);
        AnsiConsole.WriteLine($"{encoding.Ids.Length} tokens, {units.Count - 1} characters");
    }

    /// <summary>Text on one line.</summary>
    internal static string Show(string text) => text.Replace("\\", "\\\\").Replace("\n", "\\n").Replace("\r", "\\r").Replace("\t", "\\t");
}
