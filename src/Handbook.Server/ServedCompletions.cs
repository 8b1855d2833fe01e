using System.Text.Json;
using Handbook.Serving;
using Microsoft.AspNetCore.Http;

namespace Handbook.Server;

/// <summary><c>POST /v1/completions</c></summary>
internal sealed class ServedCompletions(ServedModels models, ServerOptions options)
{
    private const string Kind = "text_completion";

    /// <summary>Most tokens of a continuation where the request leaves it open, as the interface has it.</summary>
    private const int Unasked = 16;

    public async Task Answer(RequestBody body, HttpResponse response, RequestClock clock, CancellationToken cancel)
    {
        var request = SamplingRequest.Read(body, models, options, "max_tokens");
        var model = request.Model;
        var prompts = TokenInput.Read(body, "prompt", model, options.MaxAnswers);
        if (prompts.Count * request.Count > options.MaxAnswers)
            throw body.Wrong("n", $"is {request.Count} with {prompts.Count} prompts, but at most {options.MaxAnswers} answers are given at "
                + "once");
        var top = body.Whole("logprobs", 0, 5);
        body.Refuse("echo", "prompts are not repeated here", value => value.ValueKind == JsonValueKind.False);
        body.Refuse("suffix", "texts are only continued at their end",
            value => value.ValueKind == JsonValueKind.String && value.ValueEquals(""));
        body.Refuse("best_of", "every answer that is drawn is given; use n",
            value => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var best) && best == request.Count);
        body.Finish();
        AnswerSettings[] settings = [.. prompts.Select(prompt => request.For(prompt, Unasked, "prompt")).Select(set => set with
        {
            Continues = true,
            LogProbs = top is not null,
            Sampling = set.Sampling with { TopLogProbs = (int)(top ?? 0) },
        })];
        var (id, created) = ($"cmpl-{Guid.NewGuid():N}", DateTimeOffset.UtcNow.ToUnixTimeSeconds());
        // The prompts that come in before a refusal are let go.
        using var all = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        try
        {
            AnswerRun[] runs = [.. prompts.Select((prompt, p) => AnswerRun.Start(models.Engine, model, prompt, settings[p], all.Token))];
            clock.Asks("text_completion", model.Name, settings[0], id, runs);
            if (request.Stream)
                await Stream(new EventStream(response), runs, request, top is not null, id, created, clock, cancel);
            else
            {
                var answers = new List<Collected>();
                foreach (var run in runs)
                    answers.AddRange(await Collected.Of(run, request.Count, clock, cancel));
                await ApiServer.Send(response,
                    ResponseJson.Write(json => Write(json, runs, answers, request, top is not null, id, created)), cancel);
            }
        }
        catch
        {
            await all.CancelAsync();
            throw;
        }
    }

    private static void Write(Utf8JsonWriter json, AnswerRun[] runs, List<Collected> answers, SamplingRequest request, bool logProbs,
        string id, long created)
    {
        json.WriteStartObject();
        json.Head(id, Kind, created, request.Model.Name);
        json.WriteStartArray("choices");
        foreach (var (i, answer) in answers.Index())
        {
            var offset = 0;
            json.WriteStartObject();
            json.WriteNumber("index", i);
            json.WriteString("text", answer.Text);
            json.CompletionLogProbs(request.Model.Tokenizer, logProbs ? answer.Tokens : null, ref offset);
            json.WriteString("finish_reason", answer.Finish);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.Usage(runs.Sum(run => run.PromptTokens), runs.Sum(run => run.AnswerTokens));
        json.WriteEndObject();
    }

    private static Task Stream(EventStream events, AnswerRun[] runs, SamplingRequest request, bool logProbs, string id, long created,
        RequestClock clock, CancellationToken cancel)
    {
        var offsets = new int[runs.Length * request.Count];
        return ApiServer.Streaming(events, async () =>
        {
            // Several prompts are told one behind another; they are answered at the same time.
            foreach (var (p, run) in runs.Index())
                await foreach (var piece in run.Pieces(cancel))
                {
                    clock.Heard(piece);
                    var choice = p * request.Count + piece.Choice;
                    await events.Send(json =>
                    {
                        json.Head(id, Kind, created, request.Model.Name);
                        json.WriteStartArray("choices");
                        json.WriteStartObject();
                        json.WriteNumber("index", choice);
                        json.WriteString("text", piece.Text);
                        json.CompletionLogProbs(request.Model.Tokenizer, logProbs ? piece.Tokens : null, ref offsets[choice]);
                        json.WriteString("finish_reason", piece.Finish);
                        json.WriteEndObject();
                        json.WriteEndArray();
                        if (request.StreamsUsage)
                            json.WriteNull("usage");
                    });
                }
            if (request.StreamsUsage)
                await events.Send(json =>
                {
                    json.Head(id, Kind, created, request.Model.Name);
                    json.WriteStartArray("choices");
                    json.WriteEndArray();
                    json.Usage(runs.Sum(run => run.PromptTokens), runs.Sum(run => run.AnswerTokens));
                });
        });
    }
}
