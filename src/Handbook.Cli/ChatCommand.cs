using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Models.Generation;
using Handbook.Training.Plans;

namespace Handbook.Cli;

/// <summary><c>handbook chat MODEL</c></summary>
internal static class ChatCommand
{
    private const string Words = "/system TEXT  what the model is told first    /reset  forget the conversation    /exit  leave    "
        + "Ctrl-C  stop an answer";

    public static Command Create()
    {
        var model = new ModelWords("folder of the model");
        var system = new Option<string?>("--system") { Description = "what the model is told first, in its system turn" };
        var sampling = new SamplingWords();
        var command = new Command("chat",
            $"Talk with a model.\n\nIn the conversation:\n  {Words.Replace("    ", "\n  ")}") { model.Model, system };
        model.AddTo(command);
        sampling.AddTo(command);
        // Not an async action: Ctrl-C is to stop the answer, not the program.
        command.SetAction(args =>
        {
            var stops = sampling.Stops(args);
            var source = model.Source(args);
            using var speaker = LanguageModel.Open(source, sampling.Compute(args),
                load: DevicePlan.Loader(source, new ConsoleObserver(), sampling.Wish(args)));
            foreach (var note in speaker.Notes)
                Console.Error.WriteLine($"note: {note}");
            if (!speaker.CanChat)
                throw new InputException($"{speaker.Folder} has no chat template",
                    why: "it has not learned to tell the turns of a conversation apart",
                    fix: $"let it go on from a text: handbook generate {speaker.Folder} \"Once upon a time\"");
            return new Session(speaker, sampling.Of(args, speaker), stops) { System = args.GetValue(system) }.Run();
        });
        return command;
    }

    private sealed class Session(LanguageModel model, SamplingOptions sampling, IReadOnlyList<string> stops)
    {
        private readonly Generator _generator = new(model.Network);
        private readonly List<Message> _messages = [];
        private CancellationTokenSource? _answering;

        public string? System { get; set; }

        private sealed record Message(string role, string content);

        public int Run()
        {
            var people = !Console.IsInputRedirected;
            using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, signal =>
            {
                // Between answers it ends the program, as everywhere.
                if (Volatile.Read(ref _answering) is not { } answering)
                    return;
                signal.Cancel = true;
                answering.Cancel();
            });
            if (people)
                Console.Error.WriteLine(Words);
            while (true)
            {
                if (people)
                    Console.Error.Write("> ");
                if (Console.In.ReadLine() is not { } line)
                    return ExitCode.Ok;
                var text = line.Trim();
                if (text is "/exit" or "/quit")
                    return ExitCode.Ok;
                if (text.StartsWith('/'))
                    Obey(text);
                else if (text.Length > 0)
                    Answer(text);
            }
        }

        private void Obey(string text)
        {
            var (word, rest) = text.Split(' ', 2) is [var first, var more] ? (first, more.Trim()) : (text, "");
            switch (word)
            {
                case "/reset":
                    _messages.Clear();
                    Console.Error.WriteLine("the conversation is forgotten");
                    break;
                case "/system":
                    System = rest.Length > 0 ? rest : null;
                    _messages.Clear();
                    Console.Error.WriteLine(System is null ? "no system turn; a new conversation begins" : "a new conversation begins");
                    break;
                default:
                    Console.Error.WriteLine($"{word} is not known. {Words}");
                    break;
            }
        }

        private void Answer(string question)
        {
            _messages.Add(new("user", question));
            IEnumerable<Message> told = System is null ? [] : [new("system", System)];
            var answer = new AnswerText(model.Tokenizer, stops);
            using var answering = new CancellationTokenSource();
            Volatile.Write(ref _answering, answering);
            try
            {
                var ids = model.EncodeChat(JsonSerializer.SerializeToElement(told.Concat(_messages)));
                // Each turn draws its own numbers, and the whole conversation can be repeated.
                _generator.Generate([ids], sampling with { Seed = sampling.Seed + _messages.Count }, (_, token) =>
                {
                    Show(answer.Append(token));
                    return !answer.Stopped;
                }, cancel: answering.Token);
            }
            catch (OperationCanceledException)
            {
                // What was said so far stays.
            }
            catch (InputException problem)
            {
                _messages.RemoveAt(_messages.Count - 1);
                _ = ExitCode.BadInput(problem);
                return;
            }
            finally
            {
                Volatile.Write(ref _answering, null);
            }
            Show(answer.Finish() + Environment.NewLine);
            _messages.Add(new("assistant", answer.Text));
        }

        private static void Show(string text)
        {
            Console.Out.Write(text);
            Console.Out.Flush();
        }
    }
}
