using System.CommandLine;
using System.Text.Json;
using Handbook.Models;
using Handbook.Text.Tokenizers;

namespace Handbook.Cli;

/// <summary><c>handbook tokenizer inspect TOKENIZER [--json]</c>: what a tokenizer is made of.</summary>
internal static class TokenizerInspectCommand
{
    public static Command Create()
    {
        var path = TokenizerCommand.Path();
        var json = new Option<bool>("--json") { Description = "one JSON object instead of lines" };
        var command = new Command("inspect",
            "What a tokenizer is made of: parts, sizes, special tokens, chat templates.\n\nExample:\n  handbook tokenizer inspect "
                + "models/tiny") { path, json };
        command.SetAction(args =>
        {
            var tokenizer = Tokenizer.Load(HubWords.Tokenizer(args.GetRequiredValue(path)));
            if (args.GetValue(json))
                WriteJson(tokenizer);
            else
                WriteLines(tokenizer);
        });
        return command;
    }

    private static void WriteLines(Tokenizer tokenizer)
    {
        foreach (var (part, text) in tokenizer.Parts)
            Line(part, text);
        Line("tokens", $"{tokenizer.VocabularySize} ({tokenizer.ModelVocabularySize} of the "
            + $"model, {tokenizer.VocabularySize - tokenizer.ModelVocabularySize} added beside it)");
        Line("longest input", tokenizer.ModelMaxLength == int.MaxValue ? "not said" : $"{tokenizer.ModelMaxLength}");
        foreach (var (role, token) in tokenizer.SpecialTokens)
            Line(role, $"{TokenizerCommand.Show(token)}  {(tokenizer.TokenToId(token) is { } id ? $"id {id}" : "not in the vocabulary")}");
        var special = tokenizer.AddedTokens.Where(token => token.Special).ToArray();
        Line("special tokens",
            $"{special.Length}{(special.Length > 0 ? ": " + string.Join("  ", special.Take(12).Select(token => $"{token.Id} {TokenizerCommand.Show(token.Content)}")) + (special.Length > 12 ? "  …" : "") : "")}");
        Line("chat templates", tokenizer.ChatTemplates.Count == 0 ? "none"
            : string.Join(", ", tokenizer.ChatTemplates.Select(pair => $"{pair.Key} ({pair.Value.Length} characters)")));
        Line("fingerprint", tokenizer.Fingerprint);
    }

    private static void Line(string name, string text) => Console.Out.WriteLine($"{name,-16}{text}");

    private static void WriteJson(Tokenizer tokenizer) => Console.Out.WriteLine(JsonSerializer.Serialize(new
    {
        parts = tokenizer.Parts.ToDictionary(pair => pair.Part, pair => pair.Text),
        tokens = tokenizer.VocabularySize,
        model_tokens = tokenizer.ModelVocabularySize,
        model_max_length = tokenizer.ModelMaxLength == int.MaxValue ? (int?)null : tokenizer.ModelMaxLength,
        named = tokenizer.SpecialTokens.ToDictionary(pair => pair.Key,
            pair => new { token = pair.Value, id = tokenizer.TokenToId(pair.Value) }),
        added = tokenizer.AddedTokens.Select(token => new { id = token.Id, content = token.Content, special = token.Special }),
        chat_templates = tokenizer.ChatTemplates,
        fingerprint = tokenizer.Fingerprint,
    }, TokenizerCommand.Readable));
}
