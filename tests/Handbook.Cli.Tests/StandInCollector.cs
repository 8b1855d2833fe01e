using System.Collections.Concurrent;
using System.Net;
using System.Text;

namespace Handbook.Cli.Tests;

/// <summary>A collector of OpenTelemetry over HTTP with protobuf: it takes everything and remembers it.</summary>
internal sealed class StandInCollector : IDisposable
{
    private readonly HttpListener _http = new();

    public StandInCollector()
    {
        using (var free = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0))
        {
            free.Start();
            Address = new Uri($"http://127.0.0.1:{((IPEndPoint)free.LocalEndpoint).Port}");
        }
        _http.Prefixes.Add(Address.ToString());
        _http.Start();
        _ = Task.Run(Listen);
    }

    public Uri Address { get; }

    /// <summary>What came: the path, its headers, and the message.</summary>
    public ConcurrentQueue<(string Path, WebHeaderCollection Headers, Proto Message)> Taken { get; } = [];

    private async Task Listen()
    {
        while (_http.IsListening)
        {
            try
            {
                var context = await _http.GetContextAsync();
                using var body = new MemoryStream();
                await context.Request.InputStream.CopyToAsync(body);
                Taken.Enqueue((context.Request.Url!.AbsolutePath, (WebHeaderCollection)context.Request.Headers, new(body.ToArray())));
                context.Response.ContentType = "application/x-protobuf";
                context.Response.Close();
            }
            catch (Exception end) when (end is HttpListenerException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    public void Dispose() => ((IDisposable)_http).Dispose();
}

/// <summary>A protobuf message without its schema: fields by their numbers.</summary>
internal sealed class Proto
{
    private readonly List<(int Number, object Value)> _fields = [];

    public Proto(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            var key = Varint(ref bytes);
            var value = (key & 7) switch
            {
                0 => (object)Varint(ref bytes),
                1 => Take(ref bytes, 8),
                2 => Take(ref bytes, (int)Varint(ref bytes)),
                5 => Take(ref bytes, 4),
                var kind => throw new InvalidDataException($"wire type {kind}"),
            };
            _fields.Add(((int)(key >> 3), value));
        }
    }

    public IEnumerable<Proto> Messages(int number) => Bytes(number).Select(bytes => new Proto(bytes));

    public IEnumerable<byte[]> Bytes(int number) => _fields.Where(field => field.Number == number).Select(field => (byte[])field.Value);

    public string Text(int number) => Encoding.UTF8.GetString(Bytes(number).First());

    /// <summary>Attributes, as OTLP has them: texts and whole numbers.</summary>
    public Dictionary<string, object?> Attributes(int number) => Messages(number).ToDictionary(pair => pair.Text(1), pair =>
    {
        var value = pair.Messages(2).Single();
        return value._fields is [(1, byte[] text)] ? Encoding.UTF8.GetString(text) : value._fields is [(3, ulong whole)] ? (long)whole : (object?)null;
    });

    private static ulong Varint(ref ReadOnlySpan<byte> bytes)
    {
        var (value, shift) = (0ul, 0);
        for (; (bytes[0] & 128) != 0; shift += 7, bytes = bytes[1..])
            value |= (ulong)(bytes[0] & 127) << shift;
        value |= (ulong)bytes[0] << shift;
        bytes = bytes[1..];
        return value;
    }

    private static byte[] Take(ref ReadOnlySpan<byte> bytes, int count)
    {
        var taken = bytes[..count].ToArray();
        bytes = bytes[count..];
        return taken;
    }
}
