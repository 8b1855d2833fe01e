using System.Globalization;
using Handbook.Base;

namespace Handbook.Cli;

/// <summary>Sizes, speeds and times as people write them.</summary>
internal static class Quantity
{
    private static readonly Dictionary<string, double> s_bytes = new(StringComparer.Ordinal)
    {
        ["B"] = 1,
        ["kB"] = 1e3,
        ["MB"] = 1e6,
        ["GB"] = 1e9,
        ["TB"] = 1e12,
        ["KiB"] = 1024,
        ["MiB"] = 1 << 20,
        ["GiB"] = 1 << 30,
        ["TiB"] = 1L << 40,
    };

    private static readonly Dictionary<string, double> s_speeds = new(s_bytes.Select(pair => KeyValuePair.Create(pair.Key + "/s", pair.Value)),
        StringComparer.Ordinal)
    {
        ["kbit/s"] = 125,
        ["Mbit/s"] = 125e3,
        ["Gbit/s"] = 125e6,
    };

    private static readonly Dictionary<string, double> s_times = new(StringComparer.Ordinal)
    {
        ["ns"] = 1e-9,
        ["us"] = 1e-6,
        ["µs"] = 1e-6,
        ["ms"] = 1e-3,
        ["s"] = 1,
    };

    /// <summary><c>80GB</c>, in bytes.</summary>
    public static double Bytes(string option, string text) => Read(option, text, s_bytes, "80GB");

    /// <summary><c>50GB/s</c> or <c>100Gbit/s</c>, in bytes a second.</summary>
    public static double Speed(string option, string text) => Read(option, text, s_speeds, "50GB/s or 100Gbit/s");

    /// <summary><c>20us</c>, in seconds.</summary>
    public static double Seconds(string option, string text) => Read(option, text, s_times, "20us");

    private static double Read(string option, string text, Dictionary<string, double> units, string example)
    {
        var digits = text.Length - text.AsSpan().TrimStart("0123456789.").Length;
        return double.TryParse(text.AsSpan(0, digits), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) && number > 0
            && units.TryGetValue(text[digits..].Trim(), out var unit) ? number * unit
            : throw new InputException($"{option} is \"{text}\", but must be a number greater than 0 with its unit",
                why: $"units are {string.Join(", ", units.Keys)}", fix: $"for example {option} {example.Split(' ')[0]}");
    }
}
