using System.Text.Encodings.Web;
using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Data.Demo;

/// <summary>Writes the data of the demo: a text that tells about a small world, and conversations about it with answers
/// that can be checked.</summary>
/// <remarks>
/// <code>
/// text/train.jsonl, text/test.jsonl                  {"text"}: paragraphs to learn the language and the facts from
/// sft/train.jsonl,  sft/test.jsonl                   {"messages", "answer", "task"}: conversations; each test row asks one question
/// preferences/train.jsonl, preferences/test.jsonl    {"prompt", "chosen", "rejected"}: a right answer and a wrong one, or none, to one question
/// prompts/train.jsonl                                {"prompt", "answer"}: questions to sample answers to, and what is right
/// </code>
/// The demonstrations are as people write them: every sixth answer of sft/train is wrong. Preferences tell which answers are meant.
/// No question of the test is asked in sft/train. What only memory can answer (facts, opposites, letters, days, sums) stands in the text;
/// what can be worked out (numbers, words of a list) does not stand there with the test's numbers and words.
/// </remarks>
internal static class DemoData
{
    private const int Paragraphs = 5000;
    private const int HeldOutParagraphs = 100;
    private const int Conversations = 4000;
    private const int OpenQuestions = 200;
    private const int Pairs = 4000;
    private const int Prompts = 1200;
    private const double Mistakes = 1.0 / 6;
    private const double Shrugs = 0.15;

    private static readonly JsonSerializerOptions Json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <param name="folder">Gets the folders text and sft; files of an earlier call are replaced.</param>
    /// <param name="seed">The same seed writes the same bytes.</param>
    /// <param name="scale">Share of the usual amount of training rows; for tests.</param>
    /// <returns>Rows per file.</returns>
    public static IReadOnlyList<(string File, int Rows)> Write(string folder, int seed, double scale = 1)
    {
        if (File.Exists(folder))
            throw new InputException($"--output {folder} is a file, not a folder", fix: "name a new folder, such as data/tiny");
        var isNew = !Directory.Exists(folder);
        var unfinished = Path.Combine(folder, $".tmp-demo-data-{Environment.ProcessId}");
        try
        {
            var written = WriteAll(unfinished, seed, scale);
            foreach (var (file, _) in written)
            {
                Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(folder, file))!);
                WholeFile.Publish(Path.Combine(unfinished, file), Path.Combine(folder, file));
            }
            Directory.Delete(unfinished, recursive: true);
            return [.. written.Select(entry => (Path.Combine(folder, entry.File), entry.Rows))];
        }
        catch
        {
            if (Directory.Exists(unfinished))
                Directory.Delete(unfinished, recursive: true);
            if (isNew && Directory.Exists(folder))
                Directory.Delete(folder, recursive: true);
            throw;
        }
    }

    private static (string File, int Rows)[] WriteAll(string folder, int seed, double scale)
    {
        var random = new Random(seed);
        var world = new DemoWorld(random);
        // A quarter of what can be known is never asked in training.
        var known = world.KnownItems().ToArray();
        random.Shuffle(known);
        var (heldOut, asked) = (known[..(known.Length / 4)], known[(known.Length / 4)..]);
        var open = new List<DemoItem>();
        var taken = new HashSet<string>();
        while (open.Count < OpenQuestions)
            if (world.OpenItem() is var item && taken.Add(item.Key))
                open.Add(item);

        var test = heldOut.Concat(open).Select(item => (item, item.Questions[random.Next(item.Questions.Length)])).ToArray();
        random.Shuffle(test);
        var train = Enumerable.Range(0, (int)(Conversations * scale)).Select(_ => Conversation()).ToArray();
        return
        [
            Save("text/train.jsonl", Enumerable.Range(0, (int)(Paragraphs * scale)).Select(_ => new { text = Paragraph() })),
            Save("text/test.jsonl", Enumerable.Range(0, HeldOutParagraphs).Select(_ => new { text = Paragraph() })),
            Save("sft/train.jsonl", train.Select(Row)),
            Save("sft/test.jsonl", test.Select(t => Row([(t.item, t.Item2, t.item.Answer)]))),
            Save("preferences/train.jsonl", Enumerable.Range(0, (int)(Pairs * scale)).Select(_ => Pair(Question()))),
            Save("preferences/test.jsonl", test.Select(Pair)),
            Save("prompts/train.jsonl", Enumerable.Range(0, (int)(Prompts * scale)).Select(_ => Question())
                .Select(q => new { prompt = User(q.Text), answer = q.Item.Answer })),
        ];

        DemoItem NewOpenItem()
        {
            while (true)
                if (world.OpenItem() is var item && !taken.Contains(item.Key))
                    return item;
        }

        string Paragraph()
        {
            var sentences = Enumerable.Range(0, random.Next(4, 9)).Select(_ =>
            {
                var item = random.NextDouble() < 0.5 ? known[random.Next(known.Length)] : NewOpenItem();
                return item.Statements[random.Next(item.Statements.Length)];
            });
            return string.Join(random.Next(2) == 0 ? " " : "\n", sentences);
        }

        (DemoItem Item, string Question, string Said)[] Conversation() => [.. Enumerable.Range(0, random.Next(1, 4)).Select(_ =>
        {
            var (item, question) = Question();
            return (item, question, random.NextDouble() < Mistakes ? item.WrongAnswer(random) : item.Answer);
        })];

        (DemoItem Item, string Text) Question()
        {
            var item = random.NextDouble() < 0.55 ? asked[random.Next(asked.Length)] : NewOpenItem();
            return (item, item.Questions[random.Next(item.Questions.Length)]);
        }

        object Pair((DemoItem Item, string Text) question) => new
        {
            prompt = User(question.Text),
            chosen = Assistant(question.Item.Answer),
            rejected = Assistant(random.NextDouble() < Shrugs ? "I do not know." : question.Item.WrongAnswer(random)),
        };

        (string, int) Save<T>(string name, IEnumerable<T> rows)
        {
            var path = Path.Combine(folder, name);
            var lines = rows.Select(row => JsonSerializer.Serialize(row, Json)).ToArray();
            WholeFile.WriteText(path, string.Join('\n', lines) + '\n', durable: false);
            return (name, lines.Length);
        }
    }

    private static object[] User(string text) => [new { role = "user", content = text }];

    private static object[] Assistant(string text) => [new { role = "assistant", content = text }];

    private static object Row((DemoItem Item, string Question, string Said)[] turns) => new
    {
        messages = turns.SelectMany(t => User(t.Question).Concat(Assistant(t.Said))),
        answer = turns[^1].Item.Answer,
        task = turns[^1].Item.Task,
    };
}

/// <summary>Something that is true.</summary>
/// <param name="Task">Its kind.</param>
/// <param name="Key">Tells it apart from all others.</param>
/// <param name="Statements">Ways to say it in a text.</param>
/// <param name="Questions">Ways to ask for it.</param>
/// <param name="Answer">The one answer to each of them; its last word is what was asked for.</param>
/// <param name="Choices">What the last word might have been.</param>
internal sealed record DemoItem(string Task, string Key, string[] Statements, string[] Questions, string Answer, string[] Choices)
{
    /// <summary>The answer with another last word.</summary>
    public string WrongAnswer(Random random)
    {
        var last = Answer.LastIndexOf(' ') + 1;
        var right = Answer[last..^1];
        var others = Array.FindAll(Choices, choice => choice != right);
        return others.Length == 0 ? "I do not know." : $"{Answer[..last]}{others[random.Next(others.Length)]}.";
    }
}
