using System.Text.Json;

namespace Handbook.Text.Templates;

/// <summary>A part of a conversation: a field, a variable, or what a role says.</summary>
/// <param name="Name">Of the field, the variable or the role.</param>
/// <param name="IsRole">Whether it is a role.</param>
internal readonly record struct ConversationPart(string Name, bool IsRole = false)
{
    public override string ToString() => IsRole ? $"turns of the role {Name}" : Name;
}

/// <summary>What of a conversation a template leaves out of the text.</summary>
internal static class TemplateEffects
{
    /// <summary>The tools, fields and roles without which, or with other words in which, the text is the same; empty where the template
    /// refuses the conversation.</summary>
    public static List<ConversationPart> Without(ChatTemplate template, Conversation conversation, RenderOptions options)
    {
        template = template.For(conversation);
        var missing = new List<ConversationPart>();
        if (Render(conversation, template.Messages(conversation, options)) is not { } text)
            return missing;
        if (conversation.HasTools && Same(conversation with { Tools = null }, _ => { }))
            missing.Add(new("tools"));
        if (conversation.Documents is { ValueKind: JsonValueKind.Array } documents && documents.GetArrayLength() > 0
            && Same(conversation with { Documents = null }, _ => { }))
            missing.Add(new("documents"));
        foreach (var name in conversation.Variables?.Keys ?? [])
            if (Same(conversation with { Variables = conversation.Variables!.Where(pair => pair.Key != name).ToDictionary() }, _ => { }))
                missing.Add(new(name));
        var messages = template.Messages(conversation, options).OfType<PyDict>().ToList();
        foreach (var role in messages.Select(Role).OfType<string>().Distinct())
            if (IsSilent(messages, role, change => Same(conversation, change)))
                missing.Add(new(role, IsRole: true));
        foreach (var field in messages.SelectMany(message => Enumerable.Range(0, message.Count).Select(i => message.KeyAt(i)))
            .OfType<string>().Distinct())
            if (field is not ("role" or "content") && Same(conversation, message => message.Remove(field)))
                missing.Add(new(field));
        return missing;

        bool Same(Conversation other, Action<PyDict> change) => Changed(template, other, options, change) == text;

        string? Render(Conversation other, List<object?> changed) => Rendered(template, other, options, changed);
    }

    /// <summary>Those of some roles whose turns say something of which the text has nothing; empty where the template refuses the
    /// conversation.</summary>
    public static IReadOnlyList<string> SilentRoles(ChatTemplate template, Conversation conversation, RenderOptions options,
        IEnumerable<string> roles)
    {
        template = template.For(conversation);
        return Rendered(template, conversation, options, template.Messages(conversation, options)) is not { } text ? []
            : [.. roles.Where(role => IsSilent([.. template.Messages(conversation, options).OfType<PyDict>()], role,
                change => Changed(template, conversation, options, change) == text))];
    }

    private static bool IsSilent(List<PyDict> messages, string role, Func<Action<PyDict>, bool> same) =>
        messages.Exists(message => Role(message) == role && Says(message)) && same(message => Reword(message, role));

    private static string? Changed(ChatTemplate template, Conversation conversation, RenderOptions options, Action<PyDict> change)
    {
        var changed = template.Messages(conversation, options);
        foreach (var message in changed.OfType<PyDict>())
            change(message);
        return Rendered(template, conversation, options, changed);
    }

    private static string? Rendered(ChatTemplate template, Conversation conversation, RenderOptions options, List<object?> messages)
    {
        try
        {
            return template.Render(messages, conversation, options).Text;
        }
        catch (TemplateException)
        {
            return null;
        }
    }

    private static string? Role(PyDict message) => message.TryGet("role", out var role) ? role as string : null;

    private static bool Says(PyDict message) => message.TryGet("content", out var content) && content switch
    {
        string words => !string.IsNullOrWhiteSpace(words),
        List<object?> parts => parts.Count > 0,
        _ => false,
    };

    private static void Reword(PyDict message, string role)
    {
        if (Role(message) != role || !message.TryGet("content", out var content))
            return;
        if (content is string words)
            message.Set("content", words + "quillwort");
        else
            foreach (var part in (content as List<object?> ?? []).OfType<PyDict>())
                if (part.TryGet("text", out var text) && text is string said)
                    part.Set("text", said + "quillwort");
    }
}
