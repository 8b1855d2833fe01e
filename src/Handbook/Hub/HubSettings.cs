using System.Globalization;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Recipes;

namespace Handbook.Hub;

/// <summary>Where the hub is, who asks, and how long is waited.</summary>
internal sealed record HubSettings
{
    private const string Official = "https://huggingface.co";

    /// <summary>The hub's address, with a slash at its end.</summary>
    public required Uri Endpoint { get; init; }

    /// <summary>Who asks; null for anybody.</summary>
    public HubToken? Token { get; init; }

    /// <summary>Whether the user wants nothing to be asked for.</summary>
    public bool IsOffline { get; init; }

    /// <summary>Until a connection stands.</summary>
    public TimeSpan ConnectTime { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Until an answer begins.</summary>
    public TimeSpan AnswerTime { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Without a single byte, until a transfer is begun again.</summary>
    public TimeSpan StallTime { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Longest wait that is worth it, when the hub asks for one.</summary>
    public TimeSpan LongestWait { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>How often a request is tried that fails for a reason that may pass.</summary>
    public int Attempts { get; init; } = 5;

    /// <summary>Files that are transferred at once.</summary>
    public int Parallel { get; init; } = 4;

    /// <summary>Waits before another attempt; a test need not.</summary>
    public Func<TimeSpan, CancellationToken, Task> Wait { get; init; } = Task.Delay;

    /// <summary>What the environment says, with the token of a recipe that has one.</summary>
    public static HubSettings Of(Recipe recipe) =>
        FromEnvironment(recipe.Hub.HubToken is { Length: > 0 } given ? HubToken.Of(given, "hub_token") : null);

    /// <summary>What the environment says: <c>HF_ENDPOINT</c>, the token, and the times.</summary>
    /// <param name="token">Who asks, where that is not whom the environment names.</param>
    public static HubSettings FromEnvironment(HubToken? token = null)
    {
        var named = (HubCache.Variable("HF_ENDPOINT") ?? Official).TrimEnd('/');
        if (!Uri.TryCreate(named + "/", UriKind.Absolute, out var endpoint) || endpoint.Scheme is not ("http" or "https")
            || endpoint.Query.Length > 0 || endpoint.UserInfo.Length > 0)
            throw new InputException("HF_ENDPOINT is no address of a hub", "it is a scheme and a host, such as " + Official,
                "correct it, or remove it from the environment");
        var settings = new HubSettings { Endpoint = endpoint, Token = token ?? HubToken.Find(), IsOffline = HubCache.IsOffline };
        return settings with
        {
            AnswerTime = Seconds("HF_HUB_ETAG_TIMEOUT") ?? settings.AnswerTime,
            StallTime = Seconds("HF_HUB_DOWNLOAD_TIMEOUT") ?? settings.StallTime,
        };
    }

    private static TimeSpan? Seconds(string name) => HubCache.Variable(name) is not { } text ? null
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var seconds) && seconds is > 0 and <= 86400
            ? TimeSpan.FromSeconds(seconds)
            : throw new InputException($"{name} is \"{text}\", but must be a number of seconds", fix: "for example 30");
}
