using System.Text.Json;
using System.Text.RegularExpressions;
using Handbook.Text.Templates;

namespace Handbook.Text.Tests.Templates;

/// <summary>Compares what we render with what Jinja2 rendered, file by file, so that another folder of the same layout runs
/// unchanged.</summary>
internal static class TemplateGolden
{
    /// <summary>One compared row: null problem where it agrees.</summary>
    public sealed record Result(string Case, string? Problem);

    /// <summary>The frozen time the reference rendered at; "now" in the file.</summary>
    public static DateTime Now(JsonElement file) => file.GetProperty("now").GetDateTime();

    public static IEnumerable<Result> RunTemplate(string folder, string goldenFile)
    {
        var id = Path.GetFileNameWithoutExtension(goldenFile);
        using var conversations = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "conversations.json")));
        var byId = conversations.RootElement.GetProperty("conversations").EnumerateArray()
            .ToDictionary(row => row.GetProperty("id").GetString()!);
        var tokens = SpecialTokens(folder)[id];
        var now = Now(conversations.RootElement);
        ChatTemplate template;
        string? refusal = null;
        try
        {
            template = ChatTemplate.Parse(File.ReadAllText(Path.Combine(folder, "templates", id + ".jinja")), id);
        }
        catch (TemplateException error)
        {
            template = ChatTemplate.Parse("", id);
            refusal = error.Message;
        }
        foreach (var line in File.ReadLines(goldenFile).Where(line => line.Length > 0))
        {
            using var row = JsonDocument.Parse(line);
            var name = row.RootElement.GetProperty("c").GetString()!;
            yield return new($"{id} × {name}", refusal ?? Compare(row.RootElement, () => Render(template, byId[name], tokens, now)));
        }
    }

    public static Dictionary<string, Dictionary<string, string>> SpecialTokens(string folder)
    {
        using var templates = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "templates.json")));
        return templates.RootElement.EnumerateArray().ToDictionary(
            row => row.GetProperty("id").GetString()!,
            row => row.GetProperty("special_tokens").EnumerateObject().ToDictionary(token => token.Name,
                token => token.Value.GetString()!));
    }

    public static Conversation ConversationOf(JsonElement row)
    {
        var kwargs = row.GetProperty("kwargs");
        return new()
        {
            Messages = row.GetProperty("messages"),
            Tools = Optional(kwargs, "tools"),
            Documents = Optional(kwargs, "documents"),
            Variables = kwargs.EnumerateObject()
                .Where(pair =>
                    pair.Name is not ("tools" or "documents" or "add_generation_prompt" or "continue_final_message" or "return_assistant_tokens_mask"))
                .ToDictionary(pair => pair.Name, pair => pair.Value),
        };
    }

    public static RenderOptions OptionsOf(JsonElement row, IReadOnlyDictionary<string, string> tokens, DateTime now) => new()
    {
        AddGenerationPrompt = Flag(row.GetProperty("kwargs"), "add_generation_prompt"),
        ContinueFinalMessage = Flag(row.GetProperty("kwargs"), "continue_final_message"),
        SpecialTokens = tokens,
        Now = now,
    };

    public static RenderedChat Render(ChatTemplate template, JsonElement row, IReadOnlyDictionary<string, string> tokens, DateTime now) =>
        template.Render(ConversationOf(row), OptionsOf(row, tokens, now));

    public static IEnumerable<Result> RunUnits(string file)
    {
        using var document = JsonDocument.Parse(File.ReadAllText(file));
        var root = document.RootElement;
        var context = root.GetProperty("context").EnumerateObject().Select(pair => (pair.Name, PyJson.Read(pair.Value)))
            .ToDictionary(pair => pair.Name, pair => pair.Item2);
        // The file's context went through JavaScript, which wrote 12345678901234567890 and the floats 1.0, 1e20, -0.0 without what Python
        // saw.
        if (context.ContainsKey("big"))
            context["big"] = System.Numerics.BigInteger.Parse("12345678901234567890");
        if (context.TryGetValue("fl", out var floats) && floats is List<object?> { Count: 6 })
            context["fl"] = new List<object?> { 0.1, 1.0, 1e20, 1e-7, 1.5e300, -0.0 };
        foreach (var row in root.GetProperty("rows").EnumerateArray())
        {
            var source = row.GetProperty("template").GetString()!;
            // A snippet may change its lists (list.pop): each gets its own context.
            var variables = context.Select(pair => (pair.Key, Copy(pair.Value)));
            yield return new($"{row.GetProperty("id").GetString()} {source}",
                Compare(row, () => ChatTemplate.Parse(source, "snippet").RenderValues(variables, Now(root))));
        }
    }

    public static IEnumerable<Result> RunHubCases(string file)
    {
        using var document = JsonDocument.Parse(File.ReadAllText(file));
        foreach (var family in document.RootElement.EnumerateObject())
        {
            if (family.Value.ValueKind != JsonValueKind.Object || !family.Value.TryGetProperty("cases", out var cases))
                continue;
            var template = ChatTemplate.Parse(family.Value.GetProperty("template").GetString()!, family.Name);
            var number = 0;
            foreach (var row in cases.EnumerateArray())
            {
                string[] known = ["messages", "expected", "add_generation_prompt", "error", "raises", "tools", "documents"];
                var conversation = new Conversation
                {
                    Messages = row.GetProperty("messages"),
                    Tools = Optional(row, "tools"),
                    Documents = Optional(row, "documents"),
                    Variables = row.EnumerateObject().Where(pair => !known.Contains(pair.Name)).Select(Effort)
                        .ToDictionary(pair => pair.Name, pair => pair.Value),
                };
                var options = new RenderOptions
                {
                    AddGenerationPrompt = Flag(row, "add_generation_prompt"),
                    // The file does not say which special tokens each family has: placeholders stand for them, and Matches reads them from
                    // the expected text.
                    SpecialTokens = new Dictionary<string, string> { ["bos_token"] = Bos, ["eos_token"] = Eos },
                };
                string? problem;
                try
                {
                    var text = template.Render(conversation, options).Text;
                    problem = !row.TryGetProperty("expected", out var expected) ? $"rendered, but an error was expected: {row}"
                        : Matches(expected.GetString()!, text) ? null : Differ(expected.GetString()!, text) ?? "the special tokens differ";
                }
                catch (TemplateException error)
                {
                    problem = row.TryGetProperty("expected", out _) ? error.Message
                        : row.TryGetProperty("error", out var words) && error.Kind == TemplateErrorKind.RaiseException
                            && !words.GetString()!.Contains(error.Detail, StringComparison.Ordinal)
                            ? $"refused with '{error.Detail}', expected '{words}'" : null;
                }
                yield return new($"{family.Name} #{number++}", problem);
            }
        }
    }

    /// <summary>The file's reasoning effort "off" stands for the switch that turns thinking off.</summary>
    private static (string Name, JsonElement Value) Effort(JsonProperty variable) =>
        variable.Name == "reasoning_effort" && variable.Value.ValueEquals("off") ? ("enable_thinking", JsonElement.Parse("false"))
            : (variable.Name, variable.Value);

    private const string Bos = "\uE000";
    private const string Eos = "\uE001";

    /// <summary>Whether the texts agree, each placeholder standing for one text of the form of a special token.</summary>
    private static bool Matches(string expected, string actual)
    {
        var pattern = Regex.Escape(actual);
        foreach (var (placeholder, name) in new[] { (Bos, "bos"), (Eos, "eos") })
        {
            var first = pattern.IndexOf(placeholder, StringComparison.Ordinal);
            if (first >= 0)
                pattern = pattern[..first] + $"(?<{name}><[^<>]{{1,30}}>)" + pattern[(first + 1)..].Replace(placeholder, $"\\k<{name}>");
        }
        return Regex.IsMatch(expected, $@"\A{pattern}\z");
    }

    private static string? Compare(JsonElement row, Func<RenderedChat> render)
    {
        var expectsError = row.TryGetProperty("error", out var error);
        try
        {
            var rendered = render();
            if (expectsError)
                return $"rendered, but {error} was expected:\n{rendered.Text}";
            return Differ(row.GetProperty("out").GetString()!, rendered.Text)
                ?? (row.TryGetProperty("spans", out var spans) ? DifferSpans(spans, rendered) : null);
        }
        catch (TemplateException refusal)
        {
            if (!expectsError)
                return refusal.Message;
            return DifferErrors(error, refusal);
        }
    }

    private static string? DifferErrors(JsonElement error, TemplateException refusal)
    {
        var kind = error.GetProperty("kind").GetString();
        var message = error.GetProperty("message").GetString()!;
        var ours = refusal.Kind switch
        {
            TemplateErrorKind.RaiseException => "raise_exception",
            TemplateErrorKind.Syntax => "syntax",
            TemplateErrorKind.Value => "value",
            TemplateErrorKind.Template => "template",
            _ => "python",
        };
        if (ours != kind)
            return $"refused as {ours} '{refusal.Detail}', expected {kind} '{message}'";
        // Only raise_exception's words are the template's own; we hold ourselves to Jinja's for undefined values as well.
        return kind is "raise_exception" or "template" && refusal.Detail != message
            ? $"refused with '{refusal.Detail}', expected '{message}'" : null;
    }

    private static string? DifferSpans(JsonElement spans, RenderedChat rendered)
    {
        var expected = spans.EnumerateArray().Select(span => (span[0].GetInt32(), span[1].GetInt32())).ToList();
        return expected.SequenceEqual(rendered.Spans) ? null
            : $"spans {string.Join(' ', rendered.Spans)}, expected {string.Join(' ', expected)}";
    }

    private static string? Differ(string expected, string actual)
    {
        if (expected == actual)
            return null;
        var at = expected.AsSpan().CommonPrefixLength(actual);
        return $"differs at {at}: expected …{Around(expected, at)}…, got …{Around(actual, at)}…";

        static string Around(string text, int at) =>
            JsonSerializer.Serialize(text[Math.Max(0, at - 30)..Math.Min(text.Length, at + 50)], _readable);
    }

    private static readonly JsonSerializerOptions _readable =
        new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static object? Copy(object? value) => value switch
    {
        List<object?> list => list.ConvertAll(Copy),
        PyDict dict => Enumerable.Range(0, dict.Count).Aggregate(new PyDict(), (copy, i) =>
        {
            copy.Set(dict.KeyAt(i), Copy(dict.ValueAt(i)));
            return copy;
        }),
        _ => value,
    };

    private static JsonElement? Optional(JsonElement owner, string name) => owner.TryGetProperty(name, out var value)
        && value.ValueKind != JsonValueKind.Null ? value : null;

    private static bool Flag(JsonElement owner, string name) => owner.TryGetProperty(name, out var value)
        && value.ValueKind == JsonValueKind.True;
}
