using Handbook.Torch.Distributed;

namespace Handbook.Torch.Tests.Distributed;

public sealed class StoreTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    public StoreTests()
    {
        if (Backend.Gloo.Missing is { } missing)
            Assert.Skip(missing);
    }

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    [InlineData("localhost")]
    public void Connections_see_each_others_keys(string host)
    {
        using var server = Store.Serve(host == "localhost" ? "127.0.0.1" : host, 0, s_patience);
        Assert.NotEqual(0, server.Port);
        using var client = Store.Connect(host, server.Port, s_patience);
        server.Set("name", "Grüße");
        Assert.Equal("Grüße", client.TryGetText("name"));
        Assert.Null(client.TryGetText("other"));
        client.Set("empty", []);
        Assert.Empty(server.Get("empty"));
        Assert.Equal(3, client.Add("count", 3));
        Assert.Equal(5, server.Add("count", 2));
        Assert.True(client.Delete("name"));
        Assert.False(server.Has("name"));
        using var inner = client.WithPrefix("a/").WithPrefix("b/");
        inner.Set("c", "1");
        Assert.True(inner.Has("c"));
        Assert.False(server.Has("c"));
    }

    [Fact]
    public void A_wait_ends_when_the_key_is_set_and_names_what_was_not()
    {
        using var server = Store.Serve("127.0.0.1", 0, s_patience);
        using var client = server.Another();
        var setter = new Thread(() =>
        {
            Thread.Sleep(100);
            client.Set("late", "x");
        });
        setter.Start();
        Assert.Equal("x"u8.ToArray(), server.Get("late"));
        setter.Join();
        var failure = Assert.Throws<TimeoutException>(() => server.Wait(TimeSpan.FromSeconds(0.1), "late", "never", "ever"));
        Assert.Equal($"nobody set 'never', 'ever' in the store at 127.0.0.1:{server.Port} within 0.1 s", failure.Message);
        Assert.True(server.Has("late"));      // the connection is as good as before
    }

    [Fact]
    public void A_store_that_nobody_serves_is_a_timeout_that_names_the_place()
    {
        int port;
        using (var server = Store.Serve("127.0.0.1", 0, s_patience))
            port = server.Port;
        var failure = Assert.Throws<TimeoutException>(() => Store.Connect("127.0.0.1", port, TimeSpan.FromSeconds(0.3)));
        Assert.StartsWith($"nobody served a store at 127.0.0.1:{port} within 0.3 s", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_port_that_is_in_use_is_named()
    {
        using var server = Store.Serve("127.0.0.1", 0, s_patience);
        var failure = Assert.Throws<TorchException>(() => Store.Serve("127.0.0.1", server.Port, TimeSpan.FromSeconds(1)));
        Assert.Contains($"127.0.0.1:{server.Port} could not be served", failure.Message, StringComparison.Ordinal);
    }
}
