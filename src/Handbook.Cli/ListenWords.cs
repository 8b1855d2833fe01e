using System.CommandLine;
using System.Net;
using Handbook.Base;

namespace Handbook.Cli;

/// <summary>The options of a command that listens: address and port.</summary>
/// <param name="port">The usual port.</param>
/// <param name="others">What listening to other machines means, for the help.</param>
internal sealed class ListenWords(int port, string others)
{
    private readonly Option<string> _host = new("--host")
    { Description = $"address to listen on; {others}", DefaultValueFactory = _ => "127.0.0.1" };
    private readonly Option<int> _port = new("--port") { Description = "port to listen on; 0 takes a free one", DefaultValueFactory = _ => port };

    public IEnumerable<Option> Options => [_host, _port];

    /// <exception cref="InputException">The address is none, or the port out of its range.</exception>
    public (IPAddress Host, int Port) Of(ParseResult args)
    {
        var (host, wanted) = (args.GetValue(_host), args.GetValue(_port));
        if (!IPAddress.TryParse(host == "localhost" ? "127.0.0.1" : host, out var address))
            throw new InputException($"--host is {host}, but must be an address of this machine",
                fix: "use 127.0.0.1 for this machine alone, 0.0.0.0 for all of its networks");
        return wanted is >= 0 and <= 65535 ? (address, wanted)
            : throw new InputException($"--port is {wanted}, but must lie between 0 and 65535", fix: $"use {port}, or 0 for a free one");
    }
}
