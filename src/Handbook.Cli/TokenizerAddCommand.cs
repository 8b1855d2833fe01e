using System.CommandLine;
using Handbook.Base;
using Handbook.Runs;
using Handbook.Text.Templates;

namespace Handbook.Cli;

/// <summary><c>handbook tokenizer add MODEL --special-token TOKEN… --output DIR</c>: more special tokens, and rows for them.</summary>
internal static class TokenizerAddCommand
{
    public static Command Create()
    {
        var path = TokenizerCommand.Path();
        var special = new Option<string[]>("--special-token")
        { Description = "a special token; may be given several times, ids follow the order", DefaultValueFactory = _ => [] };
        var chat = new Option<bool>("--chat-format")
        { Description = "add <|im_start|> and <|im_end|>, make them begin and end token, and take the ChatML template" };
        var eos = new Option<string?>("--eos-token") { Description = "token that ends a text, of the vocabulary or a new one" };
        var pad = new Option<string?>("--pad-token") { Description = "token that fills batches up, of the vocabulary or a new one" };
        var multiple = new Option<int?>("--resize-to-multiple-of")
        { Description = "make the number of rows of embedding and head a multiple of this" };
        var seed = new Option<long>("--seed") { Description = "seed of the new rows", DefaultValueFactory = _ => 42 };
        var output = new Option<DirectoryInfo>("--output") { Description = "folder to write to", Required = true };
        var command = new Command("add",
            "Add special tokens. In the folder of a model its embedding and head get rows for them, which begin as the "
            + "average row; config and generation config get the new end token.\n\nExamples:\n"
            + "  handbook tokenizer add models/tiny --chat-format --output models/tiny-chat\n"
            + "  handbook tokenizer add models/tiny --special-token \"<|tool|>\" --resize-to-multiple-of 64 --output models/tiny-tools")
        { path, special, chat, eos, pad, multiple, seed, output };
        command.SetAction(args =>
        {
            var isChat = args.GetValue(chat);
            var roles = isChat ? ChatFormat.Roles.ToDictionary() : [];
            foreach (var (role, token) in new[] { ("eos_token", args.GetValue(eos)), ("pad_token", args.GetValue(pad)) })
                if (token is not null)
                    roles[role] = token;
            string[] tokens = [.. isChat ? ChatFormat.Tokens : [], .. args.GetValue(special)!, .. roles.Values];
            if (tokens.Length == 0)
                throw new InputException("nothing is to be added", fix: "name tokens with --special-token, or say --chat-format");
            if (args.GetValue(multiple) < 1)
                throw new InputException($"--resize-to-multiple-of is {args.GetValue(multiple)}, but must be at least 1", fix: "use 64");
            var (made, rows) = AddTokensRun.Run(args.GetRequiredValue(path), [.. tokens.Distinct()], roles,
                tokenizer => isChat ? tokenizer.With(chatTemplate: ChatTemplate.ChatMl) : tokenizer, args.GetValue(multiple),
                args.GetValue(seed), args.GetRequiredValue(output).FullName);
            foreach (var token in tokens.Distinct())
                Console.Out.WriteLine($"{made.TokenToId(token)} {TokenizerCommand.Show(token)}");
            Console.Out.WriteLine($"{made.VocabularySize} tokens"
                + (rows is var (before, after) ? before == after ? $"; the model has {after} rows, as before"
                    : $"; {after - before} rows added to the model's {before}" : "") + $" → {args.GetRequiredValue(output)}");
        });
        return command;
    }
}
