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
        var inputs = Inputs(body);
        Refuse(body);
        body.Finish();
        if (!model.Prompts.CanChat)
            throw ApiException.Bad("model", $"{model.Name} has no chat template: it has not learned to tell the turns of a conversation apart; "
                + "let it go on from a text with /v1/completions");
        var prompt = model.Prompts.EncodeChat(messages, inputs);
        var settings = request.For(prompt, options.DefaultAnswer, "messages");
        settings = settings with { LogProbs = logProbs, Sampling = settings.Sampling with { TopLogProbs = top } };
        var (id, created) = ($"chatcmpl-{Guid.NewGuid():N}", DateTimeOffset.UtcNow.ToUnixTimeSeconds());
        var run = AnswerRun.Start(models.Engine, model, prompt, settings, cancel);
        if (request.Stream)
            await Stream(new EventStream(response), run, request, settings, id, created, clock, cancel);
        else
        {
            var answers = await Collected.Of(run, settings.Count, clock, cancel);
            await ApiServer.Send(response, ResponseJson.Write(json => Write(json, run, answers, request, logProbs, id, created)), cancel);
        }
    }

    private static TemplateInputs? Inputs(RequestBody body)
    {
        if (body.Find("chat_template_kwargs") is not { } variables)
            return null;
        if (variables.ValueKind != JsonValueKind.Object)
            throw body.Wrong("chat_template_kwargs", $"is {RequestBody.Shown(variables)}, but must be an object");
        return new(null, null, variables.EnumerateObject().ToDictionary(pair => pair.Name, pair => pair.Value.Clone()));
    }

    /// <summary>What the interface knows and this server does not do.</summary>
    private static void Refuse(RequestBody body)
    {
        body.Refuse("tools", "calls of tools are not offered here", value => value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == 0);
        body.Refuse("tool_choice", "calls of tools are not offered here", value => value.ValueEquals("none"));
        body.Refuse("response_format", "only answers of the type text are offered here", value => value.ValueKind == JsonValueKind.Object
            && value.TryGetProperty("type", out var type) && type.ValueKind == JsonValueKind.String && type.ValueEquals("text"));
        body.Refuse("store", "nothing is stored here", value => value.ValueKind == JsonValueKind.False);
        body.Refuse("modalities", "only texts are answered", value => value.GetRawText() is "[\"text\"]");
        foreach (var key in (ReadOnlySpan<string>)["functions", "function_call", "audio", "prediction", "reasoning_effort", "web_search_options",
            "verbosity"])
            body.Refuse(key, "it is not offered here");
        body.Refuse("parallel_tool_calls", "it is not offered here", value => value.ValueKind is JsonValueKind.True or JsonValueKind.False);
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
            json.WriteString("content", answer.Text);
            json.WriteNull("refusal");
            json.WriteEndObject();
            json.ChatLogProbs(request.Model.Tokenizer, logProbs ? answer.Tokens : null);
            json.WriteString("finish_reason", answer.Finish);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.Usage(run.PromptTokens, run.AnswerTokens);
        json.WriteEndObject();
    }

    private static async Task Stream(EventStream events, AnswerRun run, SamplingRequest request, AnswerSettings settings, string id, long created,
        RequestClock clock, CancellationToken cancel)
    {
        var begun = new bool[settings.Count];
        await ApiServer.Streaming(events, async () =>
        {
            await foreach (var piece in run.Pieces(cancel))
            {
                clock.Heard();
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
