using System.Net;
using System.Net.Sockets;
using Handbook.Base;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;

namespace Handbook.Server;

/// <summary>How a server begins to listen, and which names are this machine's own.</summary>
internal static class Listening
{
    /// <summary>Begins to listen; an application that cannot is disposed.</summary>
    /// <param name="app">What answers.</param>
    /// <param name="host">The address that it was given, for the message.</param>
    /// <param name="port">The port that it was given.</param>
    /// <returns>Where it listens.</returns>
    /// <exception cref="InputException">The port is taken, or the address is none of this machine.</exception>
    public static async Task<Uri> Start(WebApplication app, IPAddress host, int port)
    {
        try
        {
            await app.StartAsync();
        }
        catch (Exception failure) when (failure is IOException or SocketException)
        {
            await app.DisposeAsync();
            throw new InputException($"{host}:{port} cannot be listened on ({failure.Message.TrimEnd('.')})",
                fix: (failure as SocketException)?.SocketErrorCode switch
                {
                    SocketError.AddressNotAvailable => "name an address of this machine with --host: 127.0.0.1 for this machine alone, 0.0.0.0 for all "
                        + "of its networks",
                    SocketError.AccessDenied => "choose a --port of 1024 or more: those below are the system's",
                    _ => "choose another --port (0 takes a free one), or stop the program that uses it",
                }, inner: failure);
        }
        return new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());
    }

    /// <summary>Whether a browser that asks for this host means this machine by a name that no other site can take: a name that was made to
    /// mean it (DNS rebinding) is none of these.</summary>
    /// <param name="host">Of the request, without the port.</param>
    public static bool IsLocal(string host) => host == "localhost"
        || IPAddress.TryParse(host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address);
}
