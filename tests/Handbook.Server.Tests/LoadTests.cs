using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Handbook.Models.Generation;
using Handbook.Models.Serving;

namespace Handbook.Server.Tests;

/// <summary>Many clients at once: each hears its own answer, the one that it would hear alone, and memory does not grow.</summary>
[Collection("tensors")]
public sealed class LoadTests(ServedFixture served) : IClassFixture<ServedFixture>
{
    private const int Clients = 64;

    private sealed record Ask(string Model, string Text, int Seed, int Length, double Temperature, bool Stream);

    private static readonly string[] s_words = ["one", "two", "three", "four", "the", "sun", "and", "moon", "日本語", "😀"];

    private static Ask Some(int number, int longest)
    {
        var random = new Random(number);
        var text = string.Join(' ', Enumerable.Range(0, 1 + random.Next(40)).Select(_ => s_words[random.Next(s_words.Length)]));
        if (number % 3 == 0)
            text = "the sun and the moon, one two three four one two three four " + text;       // a beginning that many share
        return new(((string[])["base", "one", "two"])[random.Next(3)], text, random.Next(4), 1 + random.Next(longest), random.Next(3) == 0 ? 0 : 1.2, random.Next(2) == 0);
    }

    private string Alone(Ask ask)
    {
        var model = served.Models.Find(ask.Model)!;
        var prompt = model.Prompts.EncodeChat(JsonSerializer.SerializeToElement(new[] { new { role = "user", content = ask.Text } }));
        var text = new AnswerText(model.Tokenizer, []);
        new Generator(model.Network).Sample([new SampleRequest(prompt, [0])],
            new() { MaxNewTokens = ask.Length, Seed = ask.Seed, Temperature = ask.Temperature, StopIds = model.Prompts.StopIds },
            (_, _, token) =>
            {
                text.Append(token);
                return true;
            });
        text.Finish();
        return text.Text;
    }

    private static async Task<string> Over(HttpClient http, Ask ask)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions")
        {
            Content = JsonContent.Create(new
            {
                model = ask.Model,
                messages = new[] { new { role = "user", content = ask.Text } },
                seed = ask.Seed,
                max_tokens = ask.Length,
                temperature = ask.Temperature,
                stream = ask.Stream,
            })
        };
        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == HttpStatusCode.OK, body);
        if (!ask.Stream)
            return JsonElement.Parse(body).GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()!;
        var text = new StringBuilder();
        foreach (var line in body.Split("\n\n", StringSplitOptions.RemoveEmptyEntries)[..^1])
            if (JsonElement.Parse(line["data: ".Length..]).GetProperty("choices")[0].GetProperty("delta").TryGetProperty("content", out var more))
                text.Append(more.GetString());
        Assert.EndsWith("data: [DONE]\n\n", body, StringComparison.Ordinal);
        return text.ToString();
    }

    /// <summary>Clients that ask one thing after another until they are told to end.</summary>
    private async Task<int> Run(Ask[] asks, string[] expected, Func<int, bool> goesOn, EngineOptions options)
    {
        using var models = served.Open(options);
        await using var server = await ApiServer.Start(models, new() { Port = 0 });
        using var http = ServedFixture.Client(server);
        var (next, wrong) = (-1, new ConcurrentQueue<string>());
        await Task.WhenAll(Enumerable.Range(0, Clients).Select(_ => Task.Run(async () =>
        {
            while (Interlocked.Increment(ref next) is var number && goesOn(number))
            {
                var i = number % asks.Length;
                if (number % 29 == 28)
                    await Leave(http, asks[i]);
                else if (await Over(http, asks[i]) is var said && said != expected[i])
                    wrong.Enqueue($"{asks[i]}: {said} and not {expected[i]}");
            }
        })));
        Assert.Empty(wrong);
        Assert.Equal(0, models.Engine.Statistics.Running + models.Engine.Statistics.Waiting);
        Assert.InRange(models.Engine.Statistics.CacheBytes, 0, options.CacheBytes);
        return next;
    }

    /// <summary>A client that leaves in the middle.</summary>
    private static async Task Leave(HttpClient http, Ask ask)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMilliseconds(20));
        try
        {
            using var response = await http.PostAsJsonAsync("/v1/chat/completions",
                new { model = ask.Model, messages = new[] { new { role = "user", content = ask.Text } }, max_tokens = 100 }, patience.Token);
        }
        catch (OperationCanceledException)
        {
            // as meant
        }
    }

    [Fact]
    public async Task Sixty_four_clients_hear_what_each_would_hear_alone()
    {
        Ask[] asks = [.. Enumerable.Range(0, 40).Select(number => Some(number, 16))];
        string[] expected = [.. asks.Select(Alone)];
        Assert.Equal(100 + Clients, 1 + await Run(asks, expected, number => number < 100, new() { CacheBytes = 2_000_000 }));
    }

    [Fact, Trait("speed", "slow")]
    public async Task Three_minutes_of_sixty_four_clients_lose_and_mix_nothing_and_take_no_more_memory()
    {
        Ask[] asks = [.. Enumerable.Range(0, 1000).Select(number => Some(number, 60))];
        string[] expected = [.. asks.Select(Alone)];
        var clock = System.Diagnostics.Stopwatch.StartNew();
        var (early, lately) = (0L, 0L);
        var answered = await Run(asks, expected, number =>
        {
            var resident = Environment.WorkingSet;
            if (clock.Elapsed < TimeSpan.FromMinutes(1))
                early = Math.Max(early, resident);
            else
                lately = Math.Max(lately, resident);
            return clock.Elapsed < TimeSpan.FromMinutes(3);
        }, new() { CacheBytes = 8_000_000 });
        TestContext.Current.TestOutputHelper?.WriteLine($"{answered:N0} requests, {early:N0} bytes in the first minute, {lately:N0} later");
        Assert.True(lately < early * 1.1 + 20e6, $"memory grew from {early:N0} to {lately:N0} bytes");
        Assert.True(answered > 1000);
    }
}
