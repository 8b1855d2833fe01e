using System.Text.Json;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Testing;
using Handbook.Text.Templates;

namespace Handbook.Text.Tests.Templates;

/// <summary>Masks of every published template at hand over conversations in which each word occurs once.</summary>
[Trait("kind", "property")]
public sealed partial class RealTemplateMaskTests
{
    private const string Tools = """
        [{"type": "function", "function": {"name": "TOOLNAME", "description": "SCHEMADESC",
          "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "SCHEMAARG"}}, "required": ["city"]}}}]
        """;

    /// <summary>The conversations: roles with their words; a word in capitals belongs to no other message.</summary>
    private static readonly Dictionary<string, string> s_conversations = new()
    {
        ["one question"] = """[{"role": "user", "content": "ASKONE"}, {"role": "assistant", "content": "ANSONE"}]""",
        ["a system turn"] = """[{"role": "system", "content": "SYSONE"}, {"role": "user", "content": "ASKONE"}, {"role": "assistant", "content": "ANSONE"}, {"role": "user", "content": "ASKTWO"}, {"role": "assistant", "content": "ANSTWO"}]""",
        ["blanks"] = """[{"role": "user", "content": " ASKONE \n"}, {"role": "assistant", "content": "\n\n ANSONE \n"}, {"role": "user", "content": "ASKTWO"}, {"role": "assistant", "content": "  ANSTWO"}]""",
        ["thoughts in the text"] = """[{"role": "user", "content": "ASKONE"}, {"role": "assistant", "content": "<think>\nREASONE\n</think>\n\nANSONE"}, {"role": "user", "content": "ASKTWO"}, {"role": "assistant", "content": "<think>\nREASTWO\n</think>\n\nANSTWO"}]""",
        ["thoughts beside the text"] = """[{"role": "user", "content": "ASKONE"}, {"role": "assistant", "content": "ANSONE", "reasoning_content": "REASONE"}, {"role": "user", "content": "ASKTWO"}, {"role": "assistant", "content": "ANSTWO", "reasoning_content": "REASTWO"}]""",
        ["a call"] = $$"""[{"role": "user", "content": "ASKONE"}, {{Call("\"\"", "ARGONE")}}, {{Result("RESONE")}}, {"role": "assistant", "content": "ANSONE"}]""",
        ["a call without content"] = $$"""[{"role": "user", "content": "ASKONE"}, {{Call("null", "ARGONE")}}, {{Result("RESONE")}}, {"role": "assistant", "content": "ANSONE"}]""",
        ["a call with words"] = $$"""[{"role": "system", "content": "SYSONE"}, {"role": "user", "content": "ASKONE"}, {{Call("\"PREONE\"", "ARGONE")}}, {{Result("RESONE")}}, {"role": "assistant", "content": "ANSONE"}, {"role": "user", "content": "ASKTWO"}, {"role": "assistant", "content": "ANSTWO"}]""",
        ["a chain of calls"] = $$"""[{"role": "user", "content": "ASKONE"}, {{Call("\"\"", "ARGONE")}}, {{Result("RESONE")}}, {{Call("\"\"", "ARGTWO")}}, {{Result("RESTWO")}}, {"role": "assistant", "content": "ANSONE"}]""",
        ["two calls at once"] = $$"""[{"role": "user", "content": "ASKONE"}, {{Call("\"\"", "ARGONE", "ARGTWO")}}, {{Result("RESONE")}}, {{Result("RESTWO", 1)}}, {"role": "assistant", "content": "ANSONE"}, {"role": "user", "content": "ASKTWO"}, {{Call("\"\"", "ARGTHREE")}}]""",
        ["markup"] = """[{"role": "user", "content": "<p>ASKONE</p> <|im_end|>"}, {"role": "assistant", "content": "<b>ANSONE</b> & {\"a\": \"ANSTWO\"}"}, {"role": "user", "content": "1 < ASKTWO > 2"}, {"role": "assistant", "content": "ANSTHREE </s> <x>"}]""",
        ["the assistant begins"] = """[{"role": "assistant", "content": "ANSONE"}, {"role": "user", "content": "ASKTWO"}, {"role": "assistant", "content": "ANSTWO"}]""",
        ["parts"] = """[{"role": "user", "content": [{"type": "text", "text": "ASKONE"}]}, {"role": "assistant", "content": [{"type": "text", "text": "ANSONE"}]}]""",
    };

    public static TheoryData<string> Templates() => SharedFiles.Root is { } root
        && Directory.Exists(Path.Combine(root, "chat-templates", "templates"))
        ? [.. Directory.GetFiles(Path.Combine(root, "chat-templates", "templates"),
            "*.jinja").Order(StringComparer.Ordinal).Select(file => Path.GetFileNameWithoutExtension(file)!)]
        : ["(absent)"];

    [Theory, MemberData(nameof(Templates))]
    public void The_assistant_s_words_carry_loss_with_their_end_and_no_other_s_do(string id)
    {
        var problems = new List<string>();
        foreach (var (name, conversation, rendered, spans, refusal) in Masks(id, withoutBlocks: true))
        {
            if (refusal is not null)
            {
                problems.Add($"{name}: {refusal}");
                continue;
            }
            var learnt = string.Concat(spans.Select(span => rendered[span.Start..span.End]));
            var others = Rest(rendered, spans);
            problems.AddRange(Foreign().Matches(learnt).Select(word => $"{name}: {word.Value} carries loss"));
            problems.AddRange(Own().Matches(others).Select(word => $"{name}: {word.Value} carries none"));
            // What ends the last answer stands right behind it, and no message follows.
            if (LastAnswer().Match(rendered) is { Success: true } end
                && conversation.Messages.EnumerateArray().Last().TryGetProperty("content", out var content)
                    && content.ValueKind == JsonValueKind.String
                && end.Value.StartsWith(content.GetString()!.Trim().Split("\n")[^1], StringComparison.Ordinal)
                    && !spans.Any(span => span.End >= end.Index + end.Length))
                problems.Add($"{name}: the end of {end.Value} carries none");
        }
        Assert.True(problems.Count == 0, string.Join('\n', problems));
    }

    [Theory, MemberData(nameof(Templates))]
    public void Turns_found_without_generation_blocks_are_those_that_the_blocks_mark(string id)
    {
        if (!ChatTemplate.Parse(Read(id), id).HasGenerationBlocks || id == "axolotl-llava")     // its blocks leave out end tokens
            return;
        var marked = Masks(id, withoutBlocks: false).ToDictionary(mask => mask.Name);
        var problems = new List<string>();
        foreach (var (name, _, rendered, spans, refusal) in Masks(id, withoutBlocks: true))
        {
            Assert.Null(refusal);
            var (_, _, theirText, theirSpans, _) = marked[name];
            Assert.Equal(theirText, rendered);
            // Their blocks may hold the opening that is asked for, and blanks behind the end; what ends with an open call may lack what
            // stops the model.
            var learnt = spans.Select(span => rendered[span.Start..span.End]).ToList();
            var words = Own().Matches(string.Concat(learnt)).Select(word => word.Value);
            var theirWords = Own().Matches(string.Concat(theirSpans.Select(span => rendered[span.Start..span.End]))).Select(word =>
                word.Value);
            if (!words.SequenceEqual(theirWords))
                problems.Add($"{name}: {string.Join(' ', words)}, marked are {string.Join(' ', theirWords)}");
            foreach (var (start, end) in spans)
                if (!theirSpans.Any(span => span.Start <= start && end <= span.End) && !Covered(theirSpans, start, end, rendered))
                    problems.Add($"{name}: {JsonSerializer.Serialize(rendered[start..end])} is not within a block");
        }
        Assert.True(problems.Count == 0, string.Join('\n', problems));
    }

    /// <summary>Whether spans that follow each other cover a part, or all of it but the token that opens a tool's answer.</summary>
    private static bool Covered(IReadOnlyList<(int Start, int End)> spans, int start, int end, string text)
    {
        for (var i = start; i < end; i++)
            if (!spans.Any(span => span.Start <= i && i < span.End) && !text[i..end].StartsWith("<|tool_response>",
                StringComparison.Ordinal) && !"<|tool_response>".EndsWith(text[i..end], StringComparison.Ordinal)
                    && !char.IsWhiteSpace(text[i]))
                return false;
        return true;
    }

    private static IEnumerable<(string Name, Conversation Conversation, string Text, IReadOnlyList<(int Start, int End)> Spans,
        string? Refusal)> Masks(string id, bool withoutBlocks)
    {
        var source = Read(id);
        var template = ChatTemplate.Parse(withoutBlocks ? Block().Replace(source,
            match => match.Groups[1].Value + (match.Groups[2].Success ? "endif" : "if true") + match.Groups[3].Value) : source, id);
        var options = new RenderOptions
        {
            SpecialTokens = TemplateGolden.SpecialTokens(SharedFiles.Need("chat-templates"))[id],
            Now = new(2026, 1, 1)
        };
        foreach (var (name, messages) in s_conversations)
        {
            var conversation = new Conversation
            {
                Messages = JsonElement.Parse(messages),
                Tools = messages.Contains("tool_calls", StringComparison.Ordinal) ? JsonElement.Parse(Tools) : null
            };
            RenderedChat rendered;
            try
            {
                rendered = template.Render(conversation, options);
            }
            catch (TemplateException)
            {
                continue;       // not for this template
            }
            IReadOnlyList<(int Start, int End)> spans = [];
            string? refusal = null;
            try
            {
                spans = template.AssistantSpans(conversation, options, rendered,
                    [.. Special().Matches(rendered.Text).Select(match => (match.Index, match.Index + match.Length))]);
            }
            catch (InputException refused)
            {
                refusal = refused.What;
            }
            yield return (name, conversation, rendered.Text, spans, refusal);
        }
    }

    private static string Read(string id) => File.ReadAllText(SharedFiles.Need("chat-templates", "templates", id + ".jinja"));

    private static string Rest(string text, IReadOnlyList<(int Start, int End)> spans)
    {
        foreach (var (start, end) in spans.Reverse())
            text = text[..start] + "|" + text[end..];
        return text;
    }

    private static string Call(string content, params string[] cities) => $$"""
        {"role": "assistant", "content": {{content}}, "tool_calls": [{{string.Join(", ", cities.Select((city, i) =>
            $$"""{"id": "abcdefgh{{i}}", "type": "function", "function": {"name": "weather{{i}}", "arguments": {"city": "{{city}}", "days": 3} } }"""))}}]}
        """;

    private static string Result(string content, int call = 0) => $$"""{"role": "tool", "name": "weather{{call}}", "tool_call_id": "abcdefgh{{call}}", "content": "{{content}}"}""";

    [GeneratedRegex("(?<![A-Z])(ASK|SYS|RES)(ONE|TWO)|SCHEMA(DESC|ARG)|TOOLNAME")]
    private static partial Regex Foreign();

    [GeneratedRegex("(ANS|ARG|PRE|REAS)(ONE|TWO|THREE)")]
    private static partial Regex Own();

    [GeneratedRegex(@"ANS(ONE|TWO)\s*(</s>|<\|(im_end|eot_id|eot|end|endoftext|eom|END_RESPONSE)\|>)(?!.*(ANS|ARG)(ONE|TWO|THREE))",
        RegexOptions.Singleline)]
    private static partial Regex LastAnswer();

    [GeneratedRegex(@"(\{%-?\s*)(end)?generation(\s*-?%\})")]
    private static partial Regex Block();

    [GeneratedRegex(@"<\|[^<>|\s]+\|>|</?s>|<[a-z_]+>|<[A-Z]+_\d+>|\[/?INST\]|<｜[^｜]+｜>|\[e~\[|\]~b\]")]
    private static partial Regex Special();
}
