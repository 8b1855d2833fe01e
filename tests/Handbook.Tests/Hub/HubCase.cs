using Handbook.Hub;
using Handbook.Testing;
using Handbook.Testing.Hub;

namespace Handbook.Tests.Hub;

/// <summary>A stand-in of the hub and a cache of its own; waits of retries are noted and not waited for.</summary>
internal sealed class HubCase : IDisposable
{
    private static readonly string[] s_variables = ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH",
        "HF_ENDPOINT"];

    private readonly Dictionary<string, string?> _before = s_variables.ToDictionary(name => name, Environment.GetEnvironmentVariable);
    private readonly TemporaryFolder _files = new();

    public HubCase()
    {
        foreach (var name in s_variables)
            Environment.SetEnvironmentVariable(name, null);
        Environment.SetEnvironmentVariable("HF_HOME", _files["home"]);
        Settings = new()
        {
            Endpoint = new(Hub.Address + "/"),
            StallTime = TimeSpan.FromSeconds(2),
            Wait = (time, cancel) =>
            {
                lock (Waits)
                    Waits.Add(time);
                return Task.CompletedTask;
            },
        };
    }

    public StandInHub Hub { get; } = new();

    public HubSettings Settings { get; set; }

    public HubSettings Writing => Settings with { Token = HubToken.Of(StandInHub.Token, "a test") };

    /// <summary>What was waited for.</summary>
    public List<TimeSpan> Waits { get; } = [];

    /// <summary>A path below a folder of the test.</summary>
    public string this[params string[] parts] => _files[parts];

    /// <summary>A path below the cache.</summary>
    public string Cached(params string[] parts) => Path.Combine([_files["home", "hub"], .. parts]);

    public void Dispose()
    {
        foreach (var (name, value) in _before)
            Environment.SetEnvironmentVariable(name, value);
        Hub.Dispose();
        _files.Dispose();
    }
}
