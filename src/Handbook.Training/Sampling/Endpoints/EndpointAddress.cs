using System.Net.Sockets;
using Handbook.Base;

namespace Handbook.Training.Sampling.Endpoints;

/// <summary>The address of an OpenAI-compatible endpoint, as a recipe or a command line writes it.</summary>
internal static class EndpointAddress
{
    private const string Fix = "write it with its scheme, e.g. http://localhost:8000/v1";

    /// <summary>The address as one that can be asked; null where it is none.</summary>
    public static Uri? Parse(string address) => Uri.TryCreate(address, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https"
        && uri.Host.Length > 0 ? uri : null;

    /// <exception cref="InputException">It is no http or https address.</exception>
    public static Uri Require(string address) =>
        Parse(address) ?? throw new InputException($"the endpoint's address \"{address}\" is no http or https address", fix: Fix);

    /// <summary>Reports a key whose value is no address; null names none.</summary>
    public static void Check(string key, string? address, Diagnostics report)
    {
        if (address is not null && Parse(address) is null)
            report.Error(key, $"is \"{address}\", which is no http or https address", fix: Fix);
    }

    /// <summary>Why nobody listens there, as far as a connection tells; null where somebody does, or a proxy stands between.</summary>
    public static string? Silent(Uri address, TimeSpan limit)
    {
        if (HttpClient.DefaultProxy.GetProxy(address) is { } proxy && proxy != address)
            return null;
        using var client = new TcpClient();
        using var clock = new CancellationTokenSource(limit);
        try
        {
            client.ConnectAsync(address.DnsSafeHost, address.Port, clock.Token).AsTask().GetAwaiter().GetResult();
            return null;
        }
        catch (SocketException failure)
        {
            return failure.Message;
        }
        catch (OperationCanceledException)
        {
            return $"no reply within {limit.TotalSeconds:g} s";
        }
    }
}
