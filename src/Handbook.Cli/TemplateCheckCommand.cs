using System.CommandLine;
using System.Text.Json;
using Handbook.Base;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Cli;

/// <summary><c>handbook template check FILE</c>: does it parse, what does it use, what does training need to know about it.</summary>
internal static class TemplateCheckCommand
{
    internal static Command Create()
    {
        var file = new Argument<FileInfo?>("file") { Description = "the template: a .jinja file", Arity = ArgumentArity.ZeroOrOne };
        var (_, tokenizer) = TemplateCommand.Source();
        var command = new Command("check", """
            Parses a template and tells what it uses and how training will treat it.

            Examples:
              handbook template check chatml.jinja
              handbook template check --tokenizer models/tiny
            """) { file, tokenizer };
        command.SetAction(args =>
        {
            var (template, owner) = TemplateCommand.Load(args.GetValue(file), args.GetValue(tokenizer));
            Write(template, owner);
        });
        return command;
    }

    private static void Write(ChatTemplate template, Tokenizer? tokenizer)
    {
        Console.WriteLine($"{template.Name}: a template of {template.Source.Count(letter => letter == '\n') + 1} lines");
        foreach (var (kind, names) in template.Features)
            Console.WriteLine($"  {kind,-10} {(names.Count == 0 ? "none" : string.Join(", ", names))}");
        var options = new RenderOptions
        {
            SpecialTokens = tokenizer?.SpecialTokens
                ?? template.Features["variables"].Where(name => name.EndsWith("_token", StringComparison.Ordinal))
                .ToDictionary(name => name, name => $"<|{name}|>"),
            Now = DateTime.Now,
        };
        var withSystem = Try(template, Turns("system", "user", "assistant", "user", "assistant"), options);
        Line("system", withSystem is not null ? "the template has a place for a system turn" : "the template refuses a system turn");
        var turns = withSystem is not null ? Turns("system", "user", "assistant", "user", "assistant")
            : Turns("user", "assistant", "user", "assistant");
        if ((withSystem ?? Try(template, turns, options)) is not { } whole)
        {
            template.Render(Of(turns), options);        // says why
            return;
        }
        Line("opening", Opening(template, turns[..^1], options) is { Length: > 0 } opening ? $"an answer is asked for with {Show(opening)}"
            : "an answer is asked for with nothing: add_generation_prompt changes nothing");
        Line("tools", template.RendersToolCalls ? "calls of tools are rendered" : "calls of tools are not rendered");
        if (template.UsesClock)
            Line("clock", "the text depends on the day (strftime_now): data rendered on another day differs");
        Line("prefix", BrokenAt(template, turns, options, whole) is { } broken
            ? $"the text up to message {broken} is not the beginning of the whole text: earlier turns are rendered anew as a chat goes on"
            : "each turn only adds to the text");
        Line("loss", template.HasGenerationBlocks
            ? "assistant_only_loss follows the template's generation blocks"
            : $"no generation blocks: assistant_only_loss follows the rendered turns{Answers(template, turns, options, tokenizer)}");
    }

    private static string Answers(ChatTemplate template, string[] turns, RenderOptions options, Tokenizer? tokenizer)
    {
        try
        {
            var rendered = template.Render(Of(turns), options);
            var spans = template.AssistantSpans(Of(turns), options, rendered, TemplateCommand.SpecialPlaces(rendered.Text, tokenizer));
            return spans.Count == 0 ? ", but none were found" : $", such as {Show(rendered.Text[spans[0].Start..spans[0].End])}";
        }
        catch (InputException refused)
        {
            return $", but cannot: {refused.What}";
        }
    }

    private static string? Opening(ChatTemplate template, string[] turns, RenderOptions options)
    {
        var closed = Try(template, turns, options);
        var opened = Try(template, turns, options with { AddGenerationPrompt = true });
        return closed is not null && opened is not null && opened.StartsWith(closed, StringComparison.Ordinal)
            ? opened[closed.Length..] : null;
    }

    /// <summary>The first message (from 1) at which the text so far is no beginning of the whole; null where each is.</summary>
    private static int? BrokenAt(ChatTemplate template, string[] turns, RenderOptions options, string whole)
    {
        for (var count = 1; count < turns.Length; count++)
            if (Try(template, turns[..count], options) is { } part && !whole.StartsWith(part, StringComparison.Ordinal))
                return count;
        return null;
    }

    private static string? Try(ChatTemplate template, string[] turns, RenderOptions options)
    {
        try
        {
            return template.Render(Of(turns), options).Text;
        }
        catch (TemplateException)
        {
            return null;
        }
    }

    private static string[] Turns(params string[] roles) => [.. roles.Select((role, i) => $"{role}:{role[..1].ToUpperInvariant()}{i}.")];

    private static Conversation Of(string[] turns) => new()
    {
        Messages = JsonSerializer.SerializeToElement(turns.Select(turn =>
            new Dictionary<string, string> { ["role"] = turn.Split(':')[0], ["content"] = turn.Split(':')[1] })),
    };

    private static void Line(string name, string text) => Console.WriteLine($"  {name,-10} {text}");

    private static string Show(string text) => JsonSerializer.Serialize(text, TokenizerCommand.Readable);
}
