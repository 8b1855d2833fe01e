using System.Net;

namespace Handbook.Server;

/// <summary>Where a server listens, whom it lets in, and what a request may take.</summary>
internal sealed record ServerOptions
{
    public IPAddress Host { get; init; } = IPAddress.Loopback;

    /// <summary>0 takes a free one.</summary>
    public int Port { get; init; } = 8000;

    /// <summary>What clients must send as <c>Authorization: Bearer …</c>; null lets everybody in.</summary>
    public string? ApiKey { get; init; }

    /// <summary>Pages of these origins may ask from a browser; none by default.</summary>
    public IReadOnlyList<string> AllowedOrigins { get; init; } = [];

    /// <summary>Most bytes of a request.</summary>
    public long MaxBody { get; init; } = 4_000_000;

    /// <summary>Most answers that one request may ask for.</summary>
    public int MaxAnswers { get; init; } = 16;

    /// <summary>Most tokens of an answer where a request names no number.</summary>
    public int DefaultAnswer { get; init; } = 1024;

    /// <summary>A request that takes longer is ended.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>The head of a request must be there after this time.</summary>
    public TimeSpan HeadTimeout { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Bytes of a request's body that must come in a second, after a while of patience; fewer end the connection.</summary>
    public double SlowestSender { get; init; } = 240;

    /// <summary>The while of patience.</summary>
    public TimeSpan SenderPatience { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Connections at the same time; one more is closed at once.</summary>
    public int MaxConnections { get; init; } = 2048;

    /// <summary>How long running answers may go on when the server is told to end.</summary>
    public TimeSpan Grace { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Hears of failures that are the server's own; null for nobody.</summary>
    public Action<string>? Say { get; init; }

    /// <summary>How the hidden states of a text become its embedding.</summary>
    public Pooling Pooling { get; init; }
}

/// <summary>How the last hidden states of a text become one vector.</summary>
internal enum Pooling
{
    /// <summary>Their mean.</summary>
    Mean,

    /// <summary>That of the last token, which has seen all others.</summary>
    Last,
}
