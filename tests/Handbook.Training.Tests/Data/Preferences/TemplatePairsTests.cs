using System.IO.Compression;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Handbook.Data;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Testing;
using Handbook.Text.Templates;
using Handbook.Text.Tests.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Training.Tests.Data.Preferences;

/// <summary>Random conversations through every published chat template, with a tokenizer of real merges that knows the templates' own
/// tokens.</summary>
public sealed partial class TemplatePairsTests
{
    private static readonly string[] s_words = ["apple", "straße", "naïve", "日本", "😀", "x=1;", "don't", "12,5", "\n", "\n\n", "  ", "<b>",
        "é", "###", "ok.", "Ω"];

    private static readonly Lazy<Tokenizer> s_tokenizer = new(MakeTokenizer);

    [Theory, InlineData(AnswerEncoding.Separate), InlineData(AnswerEncoding.Joint)]
    public void Number_10_answers_decode_to_exactly_what_the_template_adds_to_the_prompt(AnswerEncoding encoding)
    {
        var problems = new List<string>();
        var accepted = 0;
        foreach (var (id, chats, tokens, tokenizer) in Templates())
            for (var seed = 0; seed < 6; seed++)
            {
                var row = Row(new Random(seed), tokens, out var good, out var bad);
                var pair = new PreferenceTokenizer(Reader(row), tokenizer, chats, new() { Encoding = encoding });
                if (pair.Tokenize(row, out var problem, out _) is not [var tree])
                {
                    // Two templates of models that see print typed content alone, and leave out what is said as plain text.
                    if (problem!.Reason is not ("refused by the chat template" or "both answers look the same through the chat template"))
                        problems.Add($"{id}: {problem.Reason}: {problem.Detail}");
                    continue;
                }
                accepted++;
                var (prompt, chosen, rejected) = (tree.Segments[0], tree.Segments[1], tree.Segments[^1]);
                if (tree.Segments.Count != 3 || prompt.Role != SegmentRole.Prompt || chosen.Parent != 0 || rejected.Parent != 0)
                    problems.Add($"{id}: not one prompt with two answers");
                Check(good, chosen);
                Check(bad, rejected);

                void Check(string said, TokenSegment answer)
                {
                    var before = tokenizer.Decode(prompt.Ids.Span);
                    var text = tokenizer.Decode(answer.Ids.Span);
                    var whole = Rendered(row, answer.Role == SegmentRole.Chosen ? "chosen" : "rejected", chats);
                    var isWhole = whole.StartsWith(before + text, StringComparison.Ordinal)
                        && string.IsNullOrWhiteSpace(whole[(before + text).Length..]);
                    if (!isWhole && before + text != whole + tokenizer.SpecialTokens["eos_token"])
                        problems.Add($"{id}: {JsonSerializer.Serialize(before + "¦" + text)} is not {JsonSerializer.Serialize(whole)}");
                    if (!Squeezed(text).Contains(Squeezed(said), StringComparison.Ordinal)
                        || Squeezed(before).Contains(Squeezed(said), StringComparison.Ordinal))
                        problems.Add($"{id}: {JsonSerializer.Serialize(said)} is not in {JsonSerializer.Serialize(text)}, or also "
                            + "in the prompt");
                    if (answer.Loss.Span.Contains((byte)0) || prompt.Loss.Span.Contains((byte)1))
                        problems.Add($"{id}: loss is not on the answers alone");
                    if (!tokenizer.IsSpecial(answer.Ids.Span[^1]) || (answer.Ids.Length > 1 && answer.Ids.Span[^1] == answer.Ids.Span[^2]))
                        problems.Add($"{id}: ends with {JsonSerializer.Serialize(text[^Math.Min(40, text.Length)..])}");
                }
            }
        Assert.True(problems.Count == 0,
            string.Join('\n', problems.Distinct().Select(problem => problem[..Math.Min(problem.Length, 400)]).Take(40)));
        Assert.InRange(accepted, 600, 6 * 1000);      // most templates take most conversations
    }

    [Fact]
    public void Number_11_prompt_and_answer_together_are_the_template_s_own_tokens()
    {
        var checkedRows = 0;
        foreach (var (id, chats, tokens, tokenizer) in Templates().Where(template =>
            template.Id.StartsWith("trl-", StringComparison.Ordinal) || template.Id.StartsWith("handbook-", StringComparison.Ordinal)))
        {
            var row = Row(new Random(1), tokens, out _, out _);
            var options = new PreferenceTokenizerOptions { Encoding = AnswerEncoding.Joint, End = AnswerEnding.Texts };
            if (new PreferenceTokenizer(Reader(row), tokenizer, chats, options).Tokenize(row, out _, out _) is not [var tree])
                continue;
            checkedRows++;
            int[] ids = [.. tree.Segments[0].Ids.Span, .. tree.Segments[1].Ids.Span];
            Assert.True(ids.AsSpan().SequenceEqual(tokenizer.Encode(Rendered(row, "chosen", chats), addSpecialTokens: false)), id);
        }
        Assert.InRange(checkedRows, 10, 1000);
    }

    private static string Rendered(JsonElement row, string answer, ChatRowEncoder chats) => chats.Render(new()
    {
        Messages = JsonSerializer.SerializeToElement(row.GetProperty("prompt").EnumerateArray()
            .Concat(row.GetProperty(answer).EnumerateArray())),
        Variables = row.GetProperty("chat_template_kwargs").EnumerateObject().ToDictionary(pair => pair.Name, pair => pair.Value),
    }, ChatEnding.Closed);

    private static JsonElement Row(Random random, Dictionary<string, string> tokens, out string good, out string bad)
    {
        var prompt = new List<object>();
        if (random.Next(3) == 0)
            prompt.Add(new { role = "system", content = Said("system") });
        for (var turn = random.Next(3); turn >= 0; turn--)
        {
            prompt.Add(new { role = "user", content = Said("asked") });
            if (turn > 0)
                prompt.Add(new { role = "assistant", content = Said("replied") });
        }
        (good, bad) = (Said("good"), Said("bad"));
        return JsonSerializer.SerializeToElement(new
        {
            prompt,
            chosen = new[] { new { role = "assistant", content = good } },
            rejected = new[] { new { role = "assistant", content = bad } },
            chat_template_kwargs = tokens,
        });

        string Said(string what) => $"{what}{random.Next(10_000_000)} {string.Join(' ', random.GetItems(s_words, random.Next(6)))} .";
    }

    private static RowReader Reader(JsonElement row)
    {
        var spec = new DatasetSpec { Id = "rows" };
        return RowReader.For(new OneRow(row), spec, RowUse.Preferences);
    }

    private static IEnumerable<(string Id, ChatRowEncoder Chats, Dictionary<string, string> Tokens, Tokenizer Tokenizer)> Templates()
    {
        var folder = SharedFiles.Need("chat-templates");
        foreach (var (id, tokens) in TemplateGolden.SpecialTokens(folder))
        {
            // A role of its own for the end token where the template names none.
            var tokenizer = s_tokenizer.Value.With(eosToken: tokens.GetValueOrDefault("eos_token", "<|endoftext|>"));
            yield return (id, new ChatRowEncoder(tokenizer,
                ChatTemplate.Parse(File.ReadAllText(Path.Combine(folder, "templates", id + ".jinja")), id)), tokens, tokenizer);
        }
    }

    /// <summary>A real byte-level tokenizer with every special token that a template names or writes.</summary>
    private static Tokenizer MakeTokenizer()
    {
        var folder = SharedFiles.Need("chat-templates");
        using var file = new GZipStream(File.OpenRead(SharedFiles.Need("tokenizers", "smollm2", "tokenizer.json.gz")),
            CompressionMode.Decompress);
        var json = JsonNode.Parse(file)!;
        var added = json["added_tokens"]!.AsArray();
        var names = added.Select(token => token!["content"]!.GetValue<string>()).ToHashSet();
        var next = json["model"]!["vocab"]!.AsObject().Count + names.Count;
        foreach (var (id, tokens) in TemplateGolden.SpecialTokens(folder))
            foreach (var name in tokens.Values.Concat(Markers().Matches(File.ReadAllText(Path.Combine(folder, "templates", id + ".jinja")))
                .Select(match => match.Value)))
                if (names.Add(name))
                    added.Add(new JsonObject
                    {
                        ["id"] = next++,
                        ["content"] = name,
                        ["single_word"] = false,
                        ["lstrip"] = false,
                        ["rstrip"] = false,
                        ["normalized"] = false,
                        ["special"] = true
                    });
        return Tokenizer.FromJson(System.Text.Encoding.UTF8.GetBytes(json.ToJsonString()));
    }

    [GeneratedRegex(@"<\|[A-Za-z_]+\|>|</s>|<(?:end|start)_of_turn>")]
    private static partial Regex Markers();

    /// <summary>Text without blanks: templates trim what is said.</summary>
    private static string Squeezed(string text) => string.Concat(text.Where(c => !char.IsWhiteSpace(c)));

    private sealed class OneRow(JsonElement row) : IRowSource
    {
        public string Name => "rows";

        public IReadOnlyList<string> Files => [];

        public string Identity => "";

        public double Share => 1;

        public IEnumerable<SourceRow> Read() => [new() { File = "rows", Row = 1, Value = row }];
    }
}
