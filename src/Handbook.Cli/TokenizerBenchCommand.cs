using System.CommandLine;
using Handbook.Data.Tokenizing;
using Handbook.Models;
using Handbook.Text.Tokenizers;

namespace Handbook.Cli;

/// <summary><c>handbook tokenizer bench TOKENIZER FILE</c>: encoding speed of one core.</summary>
internal static class TokenizerBenchCommand
{
    public static Command Create()
    {
        var path = TokenizerCommand.Path();
        var file = new Argument<string>("file") { Description = "texts to encode: any data file" };
        var column = new Option<string>("--column") { Description = "column with the text", DefaultValueFactory = _ => "text" };
        var repetitions = new Option<int>("--repetitions")
        {
            Description = "runs after the warm-up, of which the best counts",
            DefaultValueFactory = _ => 3
        };
        var command = new Command("bench",
            "Encoding speed on one thread, in MB (10^6 bytes of UTF-8) a second.\n\nExample:\n  handbook tokenizer bench models/tiny "
                + "data/train.jsonl") { path, file, column, repetitions };
        command.SetAction(args =>
        {
            var tokenizer = Tokenizer.Load(HubWords.Tokenizer(args.GetRequiredValue(path)));
            var texts = TextColumn.Read(args.GetRequiredValue(file), args.GetRequiredValue(column)).ToArray();
            var speed = TokenizerSpeed.Measure(tokenizer, texts, Math.Max(1, args.GetValue(repetitions)));
            Console.Out.WriteLine($"{speed.MegabytesPerSecond:F2} MB/s on one thread ({speed.MegabytesPerCpuSecond:F2} by processor "
                + $"time): {texts.Length} texts, {speed.Bytes} bytes, {speed.Tokens} tokens");
        });
        return command;
    }
}
