using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Handbook.Cli.Tests.Mistakes;

namespace Handbook.Cli.Tests;

[Collection("tensors")]
public sealed class ServeCommandTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    public ServeCommandTests() => SmallModel.Make(_handbook);

    public void Dispose() => _handbook.Dispose();

    [Fact]
    public void A_model_is_served_with_a_key_until_ctrl_c()
    {
        const string key = "a-key-of-this-test";
        using var server = new RunningServer(_handbook, ["model", "--name", "small"], new Dictionary<string, string> { ["HANDBOOK_API_KEY"] = key });
        Assert.EndsWith("/v1 serves small", server.Line, StringComparison.Ordinal);
        string[] ask = ["-sS", $"{server.Address}/chat/completions", "-H", "Content-Type: application/json", "-d",
            """{"model": "small", "messages": [{"role": "user", "content": "one two"}], "max_tokens": 8, "temperature": 0}"""];
        var refused = _handbook.RunOther("curl", ask);
        Assert.Contains("there is no API key", refused.Output, StringComparison.Ordinal);
        var answered = SmallModel.Succeed(_handbook.RunOther("curl", [.. ask, "-H", $"Authorization: Bearer {key}"]));
        var said = JsonElement.Parse(answered.Output).GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString();
        var ended = server.Interrupt();
        Assert.Equal((0, "stopping: running answers have 30 s\n"), (ended.Code, ended.Error));
        // The same that `generate` says.
        Assert.Equal(said + "\n", SmallModel.Succeed(_handbook.Run("generate", "model", "one two", "--max-new-tokens", "8")).Output);
    }

    [Fact]
    public void Options_that_cannot_be_meant_are_told()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;
        File.WriteAllText(Path.Combine(_handbook.Folder, "key"), "two words\n");
        foreach (var (words, message) in new (string[], string)[]
        {
            (["--port", $"{port}"], $"127.0.0.1:{port} cannot be listened on"),
            (["--adapter", "model"], "--adapter is model, but must be NAME=FOLDER"),
            (["--adapter", "../x=model"], "\"../x\" cannot be the name of a model"),
            (["--adapter", "model=model"], "two models are called model"),
            (["--adapter", "a=model"], "--adapter a: model holds no adapter"),
            (["--host", "example.org"], "--host is example.org, but must be an address of this machine"),
            (["--api-key-file", "key"], "--api-key-file key holds no key"),
            (["--allow-origin", "localhost:3000/x"], "--allow-origin is localhost:3000/x, but must be an origin"),
            (["--max-batch", "0"], "--max-batch is 0, but must be at least 1"),
            (["--context", "0"], "--context is 0, but must be at least 1"),
            (["--cache-memory", "2"], "--cache-memory is \"2\", but must be a number greater than 0 with its unit"),
        })
        {
            var outcome = InProcess.Run(_handbook.Folder, new Dictionary<string, string?>(), ["serve", "model", .. words]);
            Assert.Equal(2, outcome.Code);
            Assert.StartsWith($"error: {message}", outcome.Error, StringComparison.Ordinal);
        }
        // An address for books, which no machine has.
        var elsewhere = InProcess.Run(_handbook.Folder, new Dictionary<string, string?>(), "serve", "model", "--host", "192.0.2.1");
        Assert.Equal(2, elsewhere.Code);
        Assert.Contains("fix: name an address of this machine with --host", elsewhere.Error, StringComparison.Ordinal);
    }
}
