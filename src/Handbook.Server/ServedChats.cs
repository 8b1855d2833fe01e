using System.Text.Json;
using Handbook.Serving;
using Handbook.Text.Templates;
using Microsoft.AspNetCore.Http;

namespace Handbook.Server;

/// <summary><c>POST /v1/chat/completions</c></summary>
internal sealed class ServedChats(ServedModels models, ServerOptions options)
{
    private const string Whole = "chat.completion", Part = "chat.completion.chunk";

    public async Task Answer(RequestBody body, HttpResponse response, RequestClock clock, CancellationToken cancel)
    {
        var request = SamplingRequest.Read(body, models, options, "max_completion_tokens", "max_tokens");
        var model = request.Model;
        var messages = ChatMessages.Read(body.Require("messages"));
        var logProbs = body.Flag("logprobs");
        var top = (int)(body.Whole("top_logprobs", 0, 20) ?? 0);
        if (top > 0 && !logProbs)
            throw body.Wrong("top_logprobs", "has a meaning only with logprobs: true");
        var wanted = ChatTools.Read(body, model);
        var format = ResponseFormat.Read(body, model);
        if (format is not null && wanted.Tools.Count > 0)
            throw body.Wrong("response_format", "stands beside tools, but an answer is either a call or of a format; leave one of them "
                + "out");
        var inputs = Inputs(body, wanted);
        Refuse(body);
        body.Finish();
        if (!model.Prompts.CanChat)
            throw ApiException.Bad("model", $"{model.Name} has no chat template: it has not learned to tell the turns of a conversation "
                + "apart; let it go on from a text with /v1/completions");
        var prompt = model.Prompts.EncodeChat(messages, inputs);
        var settings = request.For(prompt, options.DefaultAnswer, "messages");
        var grammar = wanted.Grammar ?? format;
        settings = settings with
        {
            LogProbs = logProbs,
            Sampling = settings.Sampling with { TopLogProbs = top },
            Constraint = grammar is null ? null : () => grammar.Begin(model.Prompts.StopIds),
            Tools = wanted.Tools.Count > 0 ? model.Tools : null,
            SeveralCalls = wanted.Several,
        };
        var (id, created) = ($"chatcmpl-{Guid.NewGuid():N}", DateTimeOffset.UtcNow.ToUnixTimeSeconds());
        var run = AnswerRun.Start(models.Engine, model, prompt, settings, cancel);
        clock.Asks("chat", model.Name, settings, id, run);
        if (request.Stream)
            await Stream(new EventStream(response), run, request, settings, id, created, clock, cancel);
        else
        {
            var answers = await Collected.Of(run, settings.Count, clock, cancel);
            await ApiServer.Send(response, ResponseJson.Write(json => Write(json, run, answers, request, logProbs, id, created)), cancel);
        }
    }

    private static TemplateInputs? Inputs(RequestBody body, ChatTools wanted)
    {
        var variables = body.Find("chat_template_kwargs");
        if (variables is { ValueKind: not JsonValueKind.Object } other)
            throw body.Wrong("chat_template_kwargs", $"is {RequestBody.Shown(other)}, but must be an object");
        foreach (var field in (ReadOnlySpan<string>)["messages", "tools"])
            if (variables is { } given && given.TryGetProperty(field, out _))
                throw body.Wrong($"chat_template_kwargs.{field}", $"would stand in the place of the request's own; give it in the field {field}");
        return variables is null && wanted.Json is null ? null
            : new(wanted.Json, null, variables?.EnumerateObject().ToDictionary(pair => pair.Name, pair => pair.Value.Clone()));
    }

    /// <summary>What the interface knows and this server does not do.</summary>
    private static void Refuse(RequestBody body)
    {
        body.Refuse("store", "nothing is stored here", value => value.ValueKind == JsonValueKind.False);
        body.Refuse("modalities", "only texts are answered", value => value.GetRawText() is "[\"text\"]");
        foreach (var key in (ReadOnlySpan<string>)["functions", "function_call", "audio", "prediction", "reasoning_effort",
            "web_search_options", "verbosity"])
            body.Refuse(key, "it is not offered here");
    }

    private static void Write(Utf8JsonWriter json, AnswerRun run, Collected[] answers, SamplingRequest request, bool logProbs, string id,
        long created)
    {
        json.WriteStartObject();
        json.Head(id, Whole, created, request.Model.Name);
        json.WriteStartArray("choices");
        foreach (var (i, answer) in answers.Index())
        {
            json.WriteStartObject();
            json.WriteNumber("index", i);
            json.WriteStartObject("message");
            json.WriteString("role", "assistant");
            if (answer.Text.Length == 0 && answer.Calls.Count > 0)
                json.WriteNull("content");
            else
                json.WriteString("content", answer.Text);
            json.WriteNull("refusal");
            if (answer.Calls.Count > 0)
                Calls(json, answer.Calls, null);
            json.WriteEndObject();
            json.ChatLogProbs(request.Model.Tokenizer, logProbs ? answer.Tokens : null);
            json.WriteString("finish_reason", answer.Finish);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.Usage(run.PromptTokens, run.AnswerTokens);
        json.WriteEndObject();
    }

    /// <param name="first">Number of the first in a stream; null in a whole answer, where their order says it.</param>
    private static void Calls(Utf8JsonWriter json, IReadOnlyList<ToolCall> calls, int? first)
    {
        json.WriteStartArray("tool_calls");
        foreach (var (i, call) in calls.Index())
        {
            json.WriteStartObject();
            if (first is { } number)
                json.WriteNumber("index", number + i);
            json.WriteString("id", call.Id);
            json.WriteString("type", "function");
            json.WriteStartObject("function");
            json.WriteString("name", call.Name);
            json.WriteString("arguments", call.Arguments);
            json.WriteEndObject();
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static async Task Stream(EventStream events, AnswerRun run, SamplingRequest request, AnswerSettings settings, string id,
        long created, RequestClock clock, CancellationToken cancel)
    {
        var (begun, called) = (new bool[settings.Count], new int[settings.Count]);
        await ApiServer.Streaming(events, async () =>
        {
            await foreach (var piece in run.Pieces(cancel))
            {
                clock.Heard(piece);
                if (!begun[piece.Choice])
                {
                    begun[piece.Choice] = true;
                    await Chunk(piece.Choice, null, json =>
                    {
                        json.WriteString("role", "assistant");
                        json.WriteString("content", "");
                    });
                }
                if (piece.Text.Length > 0 || piece.Tokens.Count > 0)
                    await Chunk(piece.Choice, null, json => json.WriteString("content", piece.Text), settings.LogProbs ? piece : null);
                if (piece.Calls.Count > 0)
                    await Chunk(piece.Choice, null, json => Calls(json, piece.Calls, called[piece.Choice]));
                called[piece.Choice] += piece.Calls.Count;
                if (piece.Finish is { } finish)
                    await Chunk(piece.Choice, finish, _ => { });
            }
            if (request.StreamsUsage)
                await events.Send(json =>
                {
                    json.Head(id, Part, created, request.Model.Name);
                    json.WriteStartArray("choices");
                    json.WriteEndArray();
                    json.Usage(run.PromptTokens, run.AnswerTokens);
                });
        });

        Task Chunk(int choice, string? finish, Action<Utf8JsonWriter> delta, AnswerPiece? told = null) => events.Send(json =>
        {
            json.Head(id, Part, created, request.Model.Name);
            json.WriteStartArray("choices");
            json.WriteStartObject();
            json.WriteNumber("index", choice);
            json.WriteStartObject("delta");
            delta(json);
            json.WriteEndObject();
            json.ChatLogProbs(request.Model.Tokenizer, told?.Tokens);
            json.WriteString("finish_reason", finish);
            json.WriteEndObject();
            json.WriteEndArray();
            if (request.StreamsUsage)
                json.WriteNull("usage");
        });
    }
}
