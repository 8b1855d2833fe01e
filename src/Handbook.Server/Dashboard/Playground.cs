using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models.Generation;
using Handbook.Serving;
using Microsoft.AspNetCore.Http;

namespace Handbook.Server.Dashboard;

/// <summary>Two models side by side: both answer, somebody chooses, and the choice becomes a row of preferences.</summary>
/// <param name="places">The models that may be asked, name to folder, looked up anew each time.</param>
/// <param name="models">Those that are open.</param>
/// <param name="file">What was chosen.</param>
internal sealed class Playground(Func<IReadOnlyList<(string Name, string Place)>> places, OpenModels models, PreferenceFile file)
{
    private const int MostTokens = 4096, UsualTokens = 256;

    /// <summary>What may be asked, and where choices go.</summary>
    public JsonObject Describe() => new()
    {
        ["models"] = new JsonArray([.. places().Select(place => (JsonNode)place.Name)]),
        ["file"] = file.Path,
        ["rows"] = file.Count(),
    };

    /// <summary>Sends what both models answer, as it comes.</summary>
    public async Task Answer(RequestBody body, HttpResponse response, CancellationToken cancel)
    {
        var names = (Left: body.RequireText("left"), Right: body.RequireText("right"));
        var messages = ChatMessages.Read(body.Require("messages"));
        var length = (int)(body.Whole("max_new_tokens", 1, MostTokens) ?? UsualTokens);
        var temperature = body.Number("temperature", 0, 100) ?? 1;
        var seed = body.Whole("seed", 0, int.MaxValue) ?? Random.Shared.Next();
        body.Finish();
        var known = places();
        var (leftPlace, rightPlace) = (Find(known, names.Left), Find(known, names.Right));
        using var left = await models.Take(leftPlace, cancel);
        using var right = await models.Take(rightPlace, cancel);
        var events = new EventStream(response);
        var sending = new SemaphoreSlim(1);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        try
        {
            // The same model twice gives two draws.
            var sides = new[] { Side("left", left, seed), Side("right", right, leftPlace == rightPlace ? seed + 1 : seed) };
            await ApiServer.Streaming(events, () => Task.WhenAll(sides.Select(side => Tell(side.Name, side.Model, side.Run))));
        }
        finally
        {
            await both.CancelAsync();       // where one has failed the other is not wanted
        }

        (string Name, ServedModel Model, AnswerRun Run) Side(string name, OpenModels.Lease lease, long start)
        {
            var prompt = Prompt(lease.Model, name == "left" ? names.Left : names.Right, messages);
            var room = lease.Model.Window - prompt.Length;
            if (room < 1)
                throw ApiException.Bad("messages", $"the conversation has {prompt.Length} tokens, but the window of "
                    + $"{(name == "left" ? names.Left : names.Right)} has {lease.Model.Window}, answer included; start over");
            return (name, lease.Model, AnswerRun.Start(lease.Engine, lease.Model, prompt, new()
            {
                Continues = !lease.Model.Prompts.CanChat,
                Sampling = new()
                {
                    MaxNewTokens = Math.Min(length, room),
                    Temperature = temperature,
                    Seed = start,
                    StopIds = lease.Model.Prompts.StopIds,
                },
            }, both.Token));
        }

        async Task Tell(string name, ServedModel model, AnswerRun run)
        {
            var clock = Stopwatch.StartNew();
            await foreach (var piece in run.Pieces(cancel))
            {
                await sending.WaitAsync(cancel);
                try
                {
                    await events.Send(json =>
                    {
                        json.WriteString("side", name);
                        json.WriteString("text", piece.Text);
                        if (piece.Finish is null)
                            return;
                        json.WriteString("finish", piece.Finish);
                        json.WriteNumber("tokens", run.AnswerTokens);
                        json.WriteNumber("seconds", clock.Elapsed.TotalSeconds);
                        json.WriteBoolean("chat", model.Prompts.CanChat);
                    });
                }
                finally
                {
                    sending.Release();
                }
            }
        }
    }

    /// <summary>Keeps a choice.</summary>
    public JsonObject Keep(RequestBody body)
    {
        var (chosen, rejected) = (body.RequireText("chosen"), body.RequireText("rejected"));
        var text = body.Text("prompt");
        var messages = text is null ? JsonNode.Parse(ChatMessages.Read(body.Require("messages")).GetRawText())!.AsArray() : null;
        var (better, worse) = (body.RequireText("chosen_model"), body.RequireText("rejected_model"));
        body.Finish();
        if (chosen.Trim().Length == 0 || rejected.Trim().Length == 0)
            throw ApiException.Bad("chosen", "one of the answers is empty: nothing can be learnt from it");
        if (chosen == rejected)
            throw ApiException.Bad("chosen", "both answers are the same: nothing can be learnt from it");
        if (text is { Length: 0 } || messages is [])
            throw ApiException.Bad("messages", "the prompt is empty");
        file.Add(new()
        {
            ["prompt"] = messages ?? (JsonNode)text!,
            ["chosen"] = messages is null ? chosen : Turn(chosen),
            ["rejected"] = messages is null ? rejected : Turn(rejected),
            ["chosen_model"] = better,
            ["rejected_model"] = worse,
            ["chosen_at"] = DateTime.UtcNow.ToString("O", CultureInfo.InvariantCulture),
        });
        return new() { ["file"] = file.Path, ["rows"] = file.Count() };
    }

    private static JsonArray Turn(string text) => [new JsonObject { ["role"] = "assistant", ["content"] = text }];

    private static string Find(IReadOnlyList<(string Name, string Place)> known, string name) =>
        known.FirstOrDefault(place => place.Name == name).Place ?? throw new ApiException(404,
            $"there is no model {(name.Length > 80 ? name[..80] + "…" : name)} here", code: "model_not_found");

    private static int[] Prompt(ServedModel model, string name, JsonElement messages)
    {
        if (model.Prompts.CanChat)
            return model.Prompts.EncodeChat(messages);
        if (messages.GetArrayLength() == 1 && messages[0].TryGetProperty("content", out var content)
            && content.ValueKind == JsonValueKind.String)
            return model.Prompts.EncodeText(content.GetString()!);
        throw ApiException.Bad("messages", $"{name} has no chat template, and goes on from one text alone: start over, without a system text");
    }
}
