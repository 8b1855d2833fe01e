using System.Text.Json;
using System.Text.Json.Nodes;

namespace Handbook.Testing;

/// <summary>Damages files: bytes at random, words of the format in other places, and whole values of JSON.</summary>
/// <param name="seeds">Whole files.</param>
/// <param name="words">What the format is made of.</param>
internal sealed class Mutator(IReadOnlyList<byte[]> seeds, IReadOnlyList<byte[]> words)
{
    private static readonly string[] s_numbers =
        ["0", "-1", "1", "2147483647", "2147483648", "-2147483649", "9223372036854775808", "1e308", "1e999", "0.1", "1e-400", "1000000"];

    private static readonly byte[] s_bytes = [0, 1, 0x7F, 0x80, 0xFF, (byte)'"', (byte)'\\', (byte)'{', (byte)'[', (byte)'(', 0xC3, 0xED];

    /// <summary>One damaged file; the same number gives the same one.</summary>
    public byte[] Make(int number)
    {
        var random = new Random(number);
        var file = seeds[random.Next(seeds.Count)];
        for (var times = 1 + random.Next(random.Next(4) == 0 ? 12 : 3); times > 0; times--)
            file = file.Length > 0 && file[0] == '{' && random.Next(2) == 0 ? TryInJson(file, random) ?? InBytes(file, random)
                : InBytes(file, random);
        return file;
    }

    private byte[]? TryInJson(byte[] file, Random random)
    {
        try
        {
            return InJson(file, random);
        }
        catch (Exception broken) when (broken is JsonException or InvalidOperationException or ArgumentException)
        {
            return null;                    // no JSON, no Unicode, or two members of one name
        }
    }

    private byte[] InBytes(byte[] file, Random random)
    {
        var at = random.Next(file.Length + 1);
        var length = Math.Min(random.Next(random.Next(8) == 0 ? 4096 : 24), file.Length - at);
        switch (random.Next(10))
        {
            case 0 when at < file.Length:
                return [.. file[..at], (byte)(file[at] ^ (1 << random.Next(8))), .. file[(at + 1)..]];
            case 1 when at < file.Length:
                return [.. file[..at], s_bytes[random.Next(s_bytes.Length)], .. file[(at + 1)..]];
            case 2:
                return [.. file[..at], .. file[(at + length)..]];
            case 3:
                return [.. file[..(at + length)], .. file[at..]];
            case 4:
                var other = seeds[random.Next(seeds.Count)];
                var from = random.Next(other.Length + 1);
                return [.. file[..at], .. other[from..Math.Min(other.Length, from + length)], .. file[at..]];
            case 5 when words.Count > 0:
                return [.. file[..at], .. words[random.Next(words.Count)], .. file[at..]];
            case 6 when words.Count > 0:
                return [.. file[..at], .. words[random.Next(words.Count)], .. file[(at + length)..]];
            case 7:
                return file[..at];
            case 8:
                // Many times the same: what nests or repeats.
                var part = file[at..(at + Math.Min(length, 8))];
                return [.. file[..at], .. Enumerable.Repeat(part, 1 + random.Next(400)).SelectMany(one => one), .. file[at..]];
            default:
                var noise = new byte[random.Next(16)];
                random.NextBytes(noise);
                return [.. file[..at], .. noise, .. file[at..]];
        }
    }

    /// <summary>Another value in the place of one.</summary>
    private byte[]? InJson(byte[] file, Random random)
    {
        var (root, other) = (Parse(file), Parse(seeds[random.Next(seeds.Count)]));
        var (places, values) = (Inner(root).ToArray(), Inner(other).ToArray());
        if (places.Length == 0)
            return null;
        var place = places[random.Next(places.Length)];
        var parent = place.Parent!;
        JsonNode? value = random.Next(6) switch
        {
            0 when values.Length > 0 => values[random.Next(values.Length)].DeepClone(),
            1 => null,
            2 => JsonNode.Parse(s_numbers[random.Next(s_numbers.Length)]),
            3 => random.Next(2) == 0,
            4 when words.Count > 0 => System.Text.Encoding.UTF8.GetString(words[random.Next(words.Count)]),
            5 => random.Next(2) == 0 ? new JsonObject { ["type"] = place.DeepClone() } : new JsonArray(place.DeepClone(), place.DeepClone()),
            _ => "",
        };
        if (parent is JsonArray list)
            list[list.IndexOf(place)] = value;
        else if (random.Next(4) == 0)
            parent.AsObject().Remove(place.GetPropertyName());
        else
            parent[place.GetPropertyName()] = value;
        return JsonSerializer.SerializeToUtf8Bytes(root);
    }

    private static JsonNode Parse(byte[] file) =>
        JsonNode.Parse(file, documentOptions: new() { MaxDepth = 64 }) ?? throw new JsonException("null");

    private static IEnumerable<JsonNode> Inner(JsonNode node)
    {
        IEnumerable<JsonNode?> children = node switch
        {
            JsonObject members => [.. members.Select(member => member.Value)],
            JsonArray items => [.. items],
            _ => [],
        };
        foreach (var child in children.OfType<JsonNode>())
        {
            yield return child;
            foreach (var inner in Inner(child))
                yield return inner;
        }
    }
}
