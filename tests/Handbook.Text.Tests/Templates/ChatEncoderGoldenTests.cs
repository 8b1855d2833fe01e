using System.Text.Json;
using Handbook.Base;
using Handbook.Testing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Templates;

[Trait("kind", "golden")]
public sealed class ChatEncoderGoldenTests
{
    private static readonly Dictionary<string, Tokenizer> _tokenizers = [];

    /// <summary>Every pair of tokenizer and template in the file.</summary>
    public static TheoryData<string, string> Pairs()
    {
        var file = Path.Combine(SharedFiles.Root ?? "", "chat-templates", "tokenized.jsonl");
        var pairs = new TheoryData<string, string>();
        if (!File.Exists(file))
            pairs.Add("(absent)", "(absent)");
        else
            foreach (var (tokenizer, template) in File.ReadLines(file).Where(line => line.Contains("\"ids\"", StringComparison.Ordinal))
                .Select(line => JsonElement.Parse(line))
                .Where(row => row.TryGetProperty("tokenizer", out _))
                    .Select(row => (row.GetProperty("tokenizer").GetString()!, row.GetProperty("t").GetString()!)).Distinct())
                pairs.Add(tokenizer, template);
        return pairs;
    }

    [Theory, MemberData(nameof(Pairs))]
    public void Rendered_chats_tokenise_and_mask_as_transformers_does(string tokenizer, string templateId)
    {
        var problems = new List<string>();
        var count = 0;
        foreach (var (row, _, template, encode) in Rows(tokenizer, templateId))
        {
            count++;
            var encoded = encode(row.TryGetProperty("mask", out _));
            var ids = row.GetProperty("ids").EnumerateArray().Select(id => id.GetInt32());
            if (!ids.SequenceEqual(encoded.Ids))
                problems.Add($"{Name(row)}: ids differ");
            // Without generation blocks the reference has nothing but zeros; ours finds the turns, which the next test checks.
            else if (template.HasGenerationBlocks && row.TryGetProperty("mask", out var mask)
                && mask.GetString() != string.Concat(encoded.AssistantMask))
                problems.Add($"{Name(row)}: mask {string.Concat(encoded.AssistantMask)}, expected {mask}");
        }
        Assert.True(problems.Count == 0, $"{problems.Count} of {count} differ:\n{string.Join('\n', problems)}");
        Assert.True(count > 0);
    }

    [Theory, MemberData(nameof(Pairs))]
    public void Without_generation_blocks_the_masked_tokens_are_the_answers_with_their_end_tokens(string tokenizer, string templateId)
    {
        var problems = new List<string>();
        var turns = 0;
        foreach (var (row, conversation, template, encode) in Rows(tokenizer, templateId))
        {
            if (template.HasGenerationBlocks || conversation.GetProperty("kwargs").TryGetProperty("continue_final_message", out _))
                continue;
            EncodedChat encoded;
            try
            {
                encoded = encode(true);
            }
            catch (InputException refused)
            {
                problems.Add($"{Name(row)}: {refused.What}");
                continue;
            }
            var answers = conversation.GetProperty("messages").EnumerateArray()
                .Where(message => message.GetProperty("role").ValueEquals("assistant")
                    && message.TryGetProperty("content", out var content) && content.ValueKind == JsonValueKind.String
                    && content.GetString()!.Length > 0
                    && !message.TryGetProperty("tool_calls", out _))
                .Select(message => message.GetProperty("content").GetString()!.Split("</think>")[^1].Trim()).ToList();
            var spans = encoded.Spans.Select(span => CodePoints(encoded.Text, span)).ToList();
            var masked = TokenizerOf(row).Decode([.. encoded.Ids.Where((_, i) => encoded.AssistantMask[i] == 1)]);
            // A token may hold the last letter before an answer and its first: the masked text is then longer by that letter.
            if (masked.Length - string.Concat(spans).Length > spans.Count || Squeezed(masked) != Squeezed(string.Concat(spans)))
                problems.Add($"{Name(row)}: masked {JsonSerializer.Serialize(masked)} for the spans {JsonSerializer.Serialize(spans)}");
            foreach (var answer in answers)
            {
                turns++;
                var end = spans.Select(span => span.IndexOf(answer, StringComparison.Ordinal) is var at and >= 0
                    ? span[(at + answer.Length)..].Trim() : null).FirstOrDefault(rest => rest is not null);
                if (end is null || TokenizerOf(row).TokenToId(end) is not { } id || !TokenizerOf(row).IsSpecial(id))
                    problems.Add($"{Name(row)}: no span holds \"{answer}\" and one end token: {JsonSerializer.Serialize(spans)}");
            }
        }
        Assert.True(problems.Count == 0, $"{problems.Count} problems:\n{string.Join('\n', problems)}");
        Assert.True(turns > 0 || HasGenerationBlocks(templateId));
    }

    private static bool HasGenerationBlocks(string id) =>
        ChatTemplate.Parse(File.ReadAllText(SharedFiles.Need("chat-templates", "templates", id + ".jinja")), id).HasGenerationBlocks;

    private static string Name(JsonElement row) => $"{row.GetProperty("tokenizer")} × {row.GetProperty("t")} × {row.GetProperty("c")}";

    private static string Squeezed(string text) => string.Concat(text.Where(letter => !char.IsWhiteSpace(letter)));

    private static string CodePoints(string text, (int Start, int End) span) =>
        PyText.Slice(text, new((long)span.Start, (long)span.End, null));

    private static Tokenizer TokenizerOf(JsonElement row)
    {
        var name = row.GetProperty("tokenizer").GetString()!;
        if (!_tokenizers.TryGetValue(name, out var tokenizer))
            _tokenizers.Add(name, tokenizer = Tokenizer.Load(SharedFiles.Need("tokenizers", name)));
        return tokenizer;
    }

    private static IEnumerable<(JsonElement Row, JsonElement Conversation, ChatTemplate Template, Func<bool, EncodedChat> Encode)> Rows(
        string tokenizer, string templateId)
    {
        var folder = SharedFiles.Need("chat-templates");
        var conversations = JsonElement.Parse(File.ReadAllText(Path.Combine(folder, "conversations.json")));
        var byId = conversations.GetProperty("conversations").EnumerateArray().ToDictionary(row => row.GetProperty("id").GetString()!);
        var now = TemplateGolden.Now(conversations);
        var tokens = TemplateGolden.SpecialTokens(folder);
        var templates = new Dictionary<string, ChatTemplate>();
        foreach (var line in File.ReadLines(Path.Combine(folder, "tokenized.jsonl")).Where(line => line.Length > 0))
        {
            var row = JsonElement.Parse(line);
            if (!row.TryGetProperty("ids", out _) || !row.GetProperty("tokenizer").ValueEquals(tokenizer)
                || !row.GetProperty("t").ValueEquals(templateId))
                continue;
            var id = templateId;
            if (!templates.TryGetValue(id, out var template))
                templates.Add(id, template = ChatTemplate.Parse(File.ReadAllText(Path.Combine(folder, "templates", id + ".jinja")), id));
            var conversation = byId[row.GetProperty("c").GetString()!];
            var kwargs = TemplateGolden.OptionsOf(conversation, new Dictionary<string, string>(), now);
            var options = new ChatEncodeOptions
            {
                AddGenerationPrompt = kwargs.AddGenerationPrompt,
                ContinueFinalMessage = kwargs.ContinueFinalMessage,
                Now = now
            };
            yield return (row, conversation, template, mask => new ChatEncoder(TokenizerOf(row), template)
                .Encode(WithTokens(TemplateGolden.ConversationOf(conversation), tokens[id]), options with { WithAssistantMask = mask }));
        }
    }

    /// <summary>The special tokens of templates.json as variables: some tokenizers lie there without the file that names theirs.</summary>
    private static Conversation WithTokens(Conversation conversation, Dictionary<string, string> tokens) => conversation with
    {
        Variables = tokens.Select(token => (token.Key, JsonSerializer.SerializeToElement(token.Value)))
            .Concat(conversation.Variables!.Select(pair => (pair.Key, pair.Value))).ToDictionary(),
    };
}
