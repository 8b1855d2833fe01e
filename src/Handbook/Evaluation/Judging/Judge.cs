using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Models.Generation;
using Handbook.Training.Sampling;

namespace Handbook.Evaluation.Judging;

/// <summary>A judge: a model on an endpoint or in this process.</summary>
/// <param name="name">As judgements name it.</param>
/// <param name="open">Opens it; once, where it is needed.</param>
internal sealed class Judge(string name, Func<IAnswerSource> open) : IDisposable
{
    private IAnswerSource? _source;

    public string Name => name;

    /// <summary>Opens the judge, so that what is wrong with it is told before anything is written.</summary>
    public IAnswerSource Open() => _source ??= open();

    /// <summary>Asks many things; each reply is told as soon as it is there, in any order but one at a time.</summary>
    /// <param name="asked">The system's and the user's words.</param>
    /// <param name="done">Hears (number, reply); the reply is null where the judge cannot be asked, with the reason.</param>
    public void Ask(IReadOnlyList<(string System, string User)> asked, Action<int, string?, string> done, CancellationToken cancel) =>
        AskWhole(asked, (i, answer, reason) => done(i, answer?.Text, reason), cancel);

    /// <inheritdoc cref="Ask"/>
    public void AskWhole(IReadOnlyList<(string System, string User)> asked, Action<int, GivenAnswer?, string> done,
        CancellationToken cancel)
    {
        var source = Open();
        var (requests, places) = (new List<AnswerRequest>(), new List<int>());
        for (var i = 0; i < asked.Count; i++)
        {
            var prompt = Prompt(asked[i].System, asked[i].User);
            if (source.Refuses(prompt) == ModelAnswers.RefusedByTemplate)
                prompt = Prompt("", $"{asked[i].System}\n\n{asked[i].User}");      // a template without a place for the system's words
            if (source.Refuses(prompt) is { } reason)
            {
                done(i, null, reason);
                continue;
            }
            requests.Add(new(prompt, [0]));
            places.Add(i);
        }
        source.Answer(requests, (request, _, answer) => done(places[request], answer, ""), cancel);
    }

    /// <summary>A conversation that ends with what the user says.</summary>
    internal static Prompt Prompt(string system, params IReadOnlyList<string> turns)
    {
        var messages = new JsonArray();
        if (system.Length > 0)
            messages.Add(new JsonObject { ["role"] = "system", ["content"] = system });
        for (var i = 0; i < turns.Count; i++)
            messages.Add(new JsonObject { ["role"] = i % 2 == 0 ? "user" : "assistant", ["content"] = turns[i] });
        return new() { Messages = JsonSerializer.SerializeToElement(messages) };
    }

    public void Dispose() => _source?.Dispose();
}
