using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace Handbook.Server.Tests;

/// <summary>What people and programs send who mean no good, or do not know better: each is answered, and the server goes on.</summary>
[Collection("tensors")]
public sealed class AttackTests(ServedFixture served) : IClassFixture<ServedFixture>, IAsyncLifetime
{
    private static readonly ServerOptions s_guarded = new()
    {
        Port = 0,
        ApiKey = "sk-right-key",
        MaxBody = 20_000,
        HeadTimeout = TimeSpan.FromSeconds(1),
        SenderPatience = TimeSpan.FromSeconds(1.1),
        SlowestSender = 1000,
        AllowedOrigins = ["http://localhost:3000"],
    };

    private ApiServer _server = null!;
    private HttpClient _http = null!;

    public async ValueTask InitializeAsync()
    {
        _server = await ApiServer.Start(served.Models, s_guarded);
        _http = ServedFixture.Client(_server, "sk-right-key");
    }

    public async ValueTask DisposeAsync()
    {
        // Whatever came before, the next one is answered.
        using var response = await _http.PostAsJsonAsync("/v1/completions", new { model = "base", prompt = "one two", max_tokens = 2 });
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        _http.Dispose();
        await _server.DisposeAsync();
    }

    private static async Task<JsonElement> ErrorOf(HttpResponseMessage response, HttpStatusCode status)
    {
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(status == response.StatusCode, $"{response.StatusCode}: {text}");
        return JsonElement.Parse(text).GetProperty("error");
    }

    private static StringContent Json(string body) => new(body, Encoding.UTF8, "application/json");

    [Theory, InlineData(null), InlineData("sk-wrong-key"), InlineData("sk-right-ke"), InlineData("sk-right-keyy"), InlineData("")]
    public async Task Without_the_key_nothing_is_told(string? key)
    {
        using var http = ServedFixture.Client(_server);
        if (key is not null)
            http.DefaultRequestHeaders.TryAddWithoutValidation("Authorization", $"Bearer {key}");
        foreach (var path in (string[])["/v1/models", "/metrics", "/v1/models/base", "/nowhere"])
        {
            using var response = await http.GetAsync(path);
            var error = await ErrorOf(response, HttpStatusCode.Unauthorized);
            Assert.DoesNotContain("sk-", error.ToString(), StringComparison.Ordinal);
            Assert.Equal("Bearer", response.Headers.WwwAuthenticate.Single().Scheme);
        }
        Assert.Equal("""{"status":"ok"}""", await http.GetStringAsync("/health"));
    }

    [Fact]
    public async Task A_body_that_is_too_large_is_refused_whether_its_length_is_told_or_not()
    {
        var large = $$"""{"model": "base", "prompt": "{{new string('x', 30_000)}}"}""";
        using var told = await _http.PostAsync("/v1/completions", Json(large));
        await ErrorOf(told, HttpStatusCode.RequestEntityTooLarge);
        using var chunked = new HttpRequestMessage(HttpMethod.Post, "/v1/completions") { Content = Json(large) };
        chunked.Headers.TransferEncodingChunked = true;
        using var untold = await _http.SendAsync(chunked);
        await ErrorOf(untold, HttpStatusCode.RequestEntityTooLarge);
    }

    [Fact]
    public async Task Bytes_that_are_no_text_are_refused()
    {
        using var content = new ByteArrayContent([.. "{\"model\": \"base\", \"prompt\": \""u8, 0xff, 0xc3, 0x28, .. "\"}"u8]);
        content.Headers.ContentType = new("application/json");
        using var bytes = await _http.PostAsync("/v1/completions", content);
        Assert.Equal("invalid_encoding", (await ErrorOf(bytes, HttpStatusCode.BadRequest)).GetProperty("code").GetString());
        using var surrogate = await _http.PostAsync("/v1/completions", Json("""{"model": "base", "prompt": "\ud800"}"""));
        Assert.Contains("surrogate", (await ErrorOf(surrogate, HttpStatusCode.BadRequest)).GetProperty("message").GetString(), StringComparison.Ordinal);
        using var key = await _http.PostAsync("/v1/completions", Json("""{"model": "base", "prompt": "x", "\udc00": 1}"""));
        await ErrorOf(key, HttpStatusCode.BadRequest);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("null")]
    [InlineData("7")]
    [InlineData("{\"model\": \"base\"} {}")]
    [InlineData("{\"model\": \"base\", \"model\": \"one\", \"prompt\": \"x\"}")]
    [InlineData("{\"model\": 3, \"prompt\": \"x\"}")]
    [InlineData("{\"model\": \"base\", \"prompt\": {}}")]
    [InlineData("{\"model\": \"base\", \"prompt\": [[], \"x\"]}")]
    [InlineData("{\"model\": \"base\", \"prompt\": [1, \"x\"]}")]
    [InlineData("{\"model\": \"base\", \"prompt\": [-1]}")]
    [InlineData("{\"model\": \"base\", \"prompt\": \"x\", \"max_tokens\": 1e400}")]
    [InlineData("{\"model\": \"base\", \"prompt\": \"x\", \"seed\": 99999999999999999999}")]
    public async Task What_is_no_request_is_refused(string body)
    {
        using var response = await _http.PostAsync("/v1/completions", Json(body));
        await ErrorOf(response, HttpStatusCode.BadRequest);
    }

    [Theory]
    [InlineData(""" "tool_choice": 5 """, "tool_choice")]
    [InlineData(""" "tool_choice": "function" """, "tool_choice")]
    [InlineData(""" "tool_choice": [] """, "tool_choice")]
    [InlineData(""" "tool_choice": "none", "chat_template_kwargs": {"messages": []} """, "chat_template_kwargs.messages")]
    [InlineData(""" "tool_choice": "\ud800" """, "tool_choice")]
    [InlineData(""" "tools": [{"type": "function", "function": {"name": "g", "parameters": {"type": "\udfff"}}}] """, "tools[0].function.parameters.type")]
    [InlineData(""" "tools": null, "response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": ["\ud800"]}}} """,
        "response_format.json_schema.schema.enum[0]")]
    [InlineData(""" "tools": null, "response_format": {"type": "json_schema", "json_schema": {"schema": {"required": ["\uDC00"]}}} """,
        "response_format.json_schema.schema.required[0]")]
    public async Task What_is_no_tool_or_format_is_refused(string fields, string param)
    {
        var tools = fields.Contains("\"tools\"", StringComparison.Ordinal) ? "" : """ "tools": [{"type": "function", "function": {"name": "f"}}], """;
        using var response = await _http.PostAsync("/v1/chat/completions",
            Json($$"""{"model": "base", "messages": [{"role": "user", "content": "x"}],{{tools}}{{fields}}}"""));
        Assert.Equal(param, (await ErrorOf(response, HttpStatusCode.BadRequest)).GetProperty("param").GetString());
    }

    [Fact]
    public async Task Json_that_nests_deeply_is_refused()
    {
        foreach (var deep in (string[])[new string('[', 9000) + new string(']', 9000), string.Concat(Enumerable.Repeat("{\"a\":", 3000)) + "1" + new string('}', 3000)])
        {
            using var response = await _http.PostAsync("/v1/completions", Json($$"""{"model": "base", "prompt": {{deep}}}"""));
            Assert.Equal("invalid_json", (await ErrorOf(response, HttpStatusCode.BadRequest)).GetProperty("code").GetString());
        }
    }

    [Theory, InlineData("../base"), InlineData("/etc/passwd"), InlineData("base/../../secret"), InlineData("..%2fbase"), InlineData("base\0"), InlineData("BASE")]
    public async Task A_name_of_a_model_is_looked_up_among_the_served_ones_and_nowhere_else(string name)
    {
        using var asked = await _http.PostAsJsonAsync("/v1/completions", new { model = name, prompt = "x" });
        Assert.Equal("model_not_found", (await ErrorOf(asked, HttpStatusCode.NotFound)).GetProperty("code").GetString());
        // Written raw, since a client would tidy the path up.
        var head = await Raw($"GET /v1/models/{name.Replace("\0", "%00", StringComparison.Ordinal)} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-right-key\r\nConnection: close\r\n\r\n");
        Assert.Matches(name == "base\0" ? "HTTP/1.1 400" : "HTTP/1.1 404", head);
    }

    [Fact]
    public async Task A_prompt_beyond_the_window_is_refused()
    {
        var text = string.Concat(Enumerable.Repeat("one two three four ", 200));
        using var completion = await _http.PostAsJsonAsync("/v1/completions", new { model = "base", prompt = text });
        Assert.Equal("context_length_exceeded", (await ErrorOf(completion, HttpStatusCode.BadRequest)).GetProperty("code").GetString());
        using var chat = await _http.PostAsJsonAsync("/v1/chat/completions", new { model = "base", messages = new[] { new { role = "user", content = text } } });
        Assert.Equal("context_length_exceeded", (await ErrorOf(chat, HttpStatusCode.BadRequest)).GetProperty("code").GetString());
        using var embedding = await _http.PostAsJsonAsync("/v1/embeddings", new { model = "base", input = text });
        Assert.Equal("context_length_exceeded", (await ErrorOf(embedding, HttpStatusCode.BadRequest)).GetProperty("code").GetString());
    }

    [Fact]
    public async Task Slow_senders_are_cut_off_and_nobody_waits_for_them()
    {
        // A head that never ends, and a body of which a byte comes now and then.
        var head = Raw("GET /health HTTP/1.1\r\nHost: localhost\r\n", patience: TimeSpan.FromSeconds(5));
        var body = Raw("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-right-key\r\nContent-Type: application/json\r\n"
            + "Content-Length: 5000\r\n\r\n{", patience: TimeSpan.FromSeconds(5), drip: true);
        using var response = await _http.GetAsync("/health");
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Matches(@"\A(HTTP/1.1 408[\s\S]*)?\z", await head);
        Assert.Matches(@"\A(HTTP/1.1 408[\s\S]*)?\z", await body);
    }

    [Fact]
    public async Task What_is_no_http_is_cut_off()
    {
        Assert.Matches(@"\A(HTTP/1.1 400[\s\S]*)?\z", await Raw("\x16\x03\x01\x02\x00\x01\x00\x01 this is no http\r\n\r\n"));
        Assert.Matches(@"\A(HTTP/1.1 4\d\d[\s\S]*)?\z", await Raw($"GET /{new string('a', 20_000)} HTTP/1.1\r\nHost: x\r\n\r\n"));
        Assert.Matches(@"\AHTTP/1.1 431", await Raw($"GET /health HTTP/1.1\r\nHost: x\r\nX-Large: {new string('a', 60_000)}\r\n\r\n"));
    }

    [Fact]
    public async Task A_method_or_a_type_that_does_not_belong_is_refused()
    {
        using var get = await _http.GetAsync("/v1/chat/completions");
        await ErrorOf(get, HttpStatusCode.MethodNotAllowed);
        using var post = await _http.PostAsync("/v1/models", Json("{}"));
        await ErrorOf(post, HttpStatusCode.MethodNotAllowed);
        using var plain = await _http.PostAsync("/v1/completions", new StringContent("""{"model": "base", "prompt": "x"}"""));     // text/plain
        await ErrorOf(plain, HttpStatusCode.UnsupportedMediaType);
    }

    [Fact]
    public async Task Pages_of_others_may_not_ask()
    {
        foreach (var (origin, allowed) in new[] { ("http://localhost:3000", true), ("http://evil.example", false) })
        {
            using var ask = new HttpRequestMessage(HttpMethod.Options, "/v1/completions");
            ask.Headers.Add("Origin", origin);
            using var answer = await _http.SendAsync(ask);
            Assert.Equal(allowed, answer.Headers.Contains("Access-Control-Allow-Origin"));
        }
        // Without a key a name that somebody else gave to this machine does not count.
        using var rebound = new HttpRequestMessage(HttpMethod.Get, new Uri(served.Server.Address, "/v1/models"));
        rebound.Headers.Host = "evil.example";
        using var refused = await served.Http.SendAsync(rebound);
        await ErrorOf(refused, HttpStatusCode.MisdirectedRequest);
    }

    [Fact]
    public async Task A_thousand_connections_are_answered()
    {
        var sockets = new List<TcpClient>();
        try
        {
            for (var i = 0; i < 1000; i++)
            {
                var socket = new TcpClient();
                await socket.ConnectAsync(_server.Address.Host, _server.Address.Port);
                sockets.Add(socket);
            }
            var answers = await Task.WhenAll(sockets.Select(async socket =>
            {
                var stream = socket.GetStream();
                await stream.WriteAsync("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-right-key\r\n\r\n"u8.ToArray());
                var buffer = new byte[64];
                var count = await stream.ReadAtLeastAsync(buffer, 15, throwOnEndOfStream: false);
                return Encoding.ASCII.GetString(buffer, 0, Math.Min(count, 15));
            }));
            Assert.All(answers, answer => Assert.Equal("HTTP/1.1 200 OK", answer));
        }
        finally
        {
            foreach (var socket in sockets)
                socket.Dispose();
        }
    }

    /// <summary>Sends bytes as they are, and gives what comes back until the connection ends.</summary>
    /// <param name="drip">Goes on with a byte now and then.</param>
    private async Task<string> Raw(string text, TimeSpan? patience = null, bool drip = false)
    {
        using var socket = new TcpClient();
        await socket.ConnectAsync(_server.Address.Host, _server.Address.Port);
        using var over = new CancellationTokenSource(patience ?? TimeSpan.FromSeconds(10));
        var stream = socket.GetStream();
        var answer = new MemoryStream();
        try
        {
            await stream.WriteAsync(Encoding.Latin1.GetBytes(text), over.Token);
            var reading = stream.CopyToAsync(answer, over.Token);
            while (drip && !reading.IsCompleted)
            {
                await Task.WhenAny(reading, Task.Delay(100, over.Token));
                if (!reading.IsCompleted)
                    await stream.WriteAsync(" "u8.ToArray(), over.Token);
            }
            await reading;
        }
        catch (IOException)
        {
            // cut off
        }
        return Encoding.Latin1.GetString(answer.ToArray());
    }
}
