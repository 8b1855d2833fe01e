using System.CommandLine;
using System.Diagnostics;
using Handbook.Base;
using Handbook.Data.Tokenizing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers.Training;

namespace Handbook.Cli;

/// <summary><c>handbook tokenizer train FILES… --vocab-size N --output DIR</c>: a byte-level BPE tokenizer from texts.</summary>
internal static class TokenizerTrainCommand
{
    public static Command Create()
    {
        var files = new Argument<string[]>("files")
        { Description = "texts: plain text, JSONL, JSON, CSV, Parquet or Arrow, also compressed", Arity = ArgumentArity.OneOrMore };
        var size = new Option<int>("--vocab-size")
        { Description = "number of tokens in all: special ones, 256 bytes, and what is learned", Required = true };
        var output = new Option<DirectoryInfo>("--output") { Description = "folder to write to", Required = true };
        var column = new Option<string>("--column")
        {
            Description = "column with the text; rows without it are read by their messages",
            DefaultValueFactory = _ => "text"
        };
        var special = new Option<string[]>("--special-token")
        { Description = "a special token; may be given several times, ids follow the order", DefaultValueFactory = _ => [] };
        var bos = new Option<string?>("--bos-token") { Description = "token put before every text (a special token)" };
        var eos = new Option<string?>("--eos-token") { Description = "token that ends a text (a special token)" };
        var pad = new Option<string?>("--pad-token") { Description = "token that fills batches up (a special token)" };
        var template = new Option<FileInfo?>("--chat-template") { Description = "file with the Jinja chat template to save with it" };
        var frequency = new Option<int>("--min-frequency")
        {
            Description = "how often a pair must occur to become a token",
            DefaultValueFactory = _ => 2
        };
        var pattern = new Option<SplitPattern>("--pattern")
        {
            Description = "how text is cut into words: gpt2, llama3 (at most three digits together) or qwen2 (single digits)",
            DefaultValueFactory = _ => SplitPattern.Gpt2
        };
        var kind = new Option<string>("--kind")
        {
            Description = "bpe: byte-level byte pair encoding; unigram: as sentencepiece's; wordpiece: as BERT's, in lower case",
            DefaultValueFactory = _ => "bpe"
        };
        kind.AcceptOnly("bpe", "unigram", "wordpiece");
        var length = new Option<int?>("--model-max-length") { Description = "longest input of the model, for tokenizer_config.json" };
        var command = new Command("train", "Train a tokenizer: byte-level BPE, unigram or WordPiece. The same texts give the same tokenizer.\n\nExamples:\n"
            + "  handbook tokenizer train corpus.txt --vocab-size 4096 --output models/tiny --eos-token \"<|end|>\"\n"
            + "  handbook tokenizer train chats.jsonl --vocab-size 8192 --output models/chat --special-token \"<|user|>\" --special-token "
                + "\"<|assistant|>\" --chat-template chat.jinja")
        {
            files, size, output, kind, column, special, bos, eos, pad, template, frequency, pattern, length,
        };
        command.SetAction(args =>
        {
            foreach (var (option, kinds) in new (Option, string)[] { (frequency, "bpe wordpiece"), (pattern, "bpe") })
                if (args.GetResult(option) is { Implicit: false } && !kinds.Contains(args.GetValue(kind)!, StringComparison.Ordinal))
                    throw new InputException($"{option.Name} has no effect with --kind {args.GetValue(kind)}",
                        fix: $"leave it out, or train --kind {kinds.Split(' ')[0]}");
            TrainerOptions options = args.GetValue(kind) switch
            {
                "unigram" => new UnigramTrainerOptions { VocabularySize = args.GetRequiredValue(size) },
                "wordpiece" => new WordPieceTrainerOptions
                { VocabularySize = args.GetRequiredValue(size), MinFrequency = args.GetValue(frequency) },
                _ => new BpeTrainerOptions
                {
                    VocabularySize = args.GetRequiredValue(size),
                    MinFrequency = args.GetValue(frequency),
                    Pattern = args.GetValue(pattern),
                },
            };
            options = options with
            {
                SpecialTokens = args.GetValue(special) ?? [],
                BosToken = args.GetValue(bos),
                EosToken = args.GetValue(eos),
                PadToken = args.GetValue(pad),
                ChatTemplate = args.GetValue(template) is { } source ? ReadTemplate(source) : null,
                ModelMaxLength = args.GetValue(length),
            };
            Run(args.GetRequiredValue(files), args.GetRequiredValue(column), options, args.GetRequiredValue(output).FullName);
        });
        return command;
    }

    private static void Run(string[] files, string column, TrainerOptions options, string output)
    {
        var clock = Stopwatch.StartNew();
        long texts = 0, characters = 0;
        var tokenizer = options.Train(Counted(files.SelectMany(file => TextColumn.Read(file, column))));
        if (characters == 0)
            throw new InputException($"no text in {string.Join(", ", files)}", "a tokenizer is learned from text",
                "name files with text, or the right --column");
        tokenizer.Save(output);
        Console.Out.WriteLine($"{tokenizer.VocabularySize} tokens from {texts} texts, {characters} characters, "
            + $"in {clock.Elapsed.TotalSeconds:F1} s → {output}");
        if (tokenizer.VocabularySize < options.VocabularySize)
            Console.Error.WriteLine($"note: {options.VocabularySize} were asked for, but no further "
                + (options is UnigramTrainerOptions ? "part of a word is worth a token; more text gives more"
                    : "pair occurs as often as --min-frequency says; more text or a lower one gives more"));

        IEnumerable<string> Counted(IEnumerable<string> all)
        {
            foreach (var text in all)
            {
                texts++;
                characters += text.Length;
                yield return text;
            }
        }
    }

    private static string ReadTemplate(FileInfo file) => file.Exists ? File.ReadAllText(file.FullName)
        : throw new InputException($"--chat-template {file} does not exist", fix: "check the path");
}
