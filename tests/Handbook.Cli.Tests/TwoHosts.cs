using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Handbook.Cli.Tests;

/// <summary>Two hosts on one machine: network namespaces of their own, joined by a link that can be cut, or delay and lose packets.</summary>
/// <remarks>They have nothing of the network but that link; files and processes are the machine's.</remarks>
internal sealed class TwoHosts : IDisposable
{
    private readonly string[] _names = [$"hb{Environment.ProcessId}a", $"hb{Environment.ProcessId}b"];

    private TwoHosts()
    {
    }

    /// <summary>The address of the first host; the last number of the second's is one more.</summary>
    public const string Address = "10.213.77.1";

    /// <summary>Makes them, or skips the test with the reason why they cannot be made here.</summary>
    /// <param name="shaping">The queue of <c>tc</c> that packets of either direction go through; null for an undisturbed link.</param>
    public static TwoHosts MakeOrSkip(string? shaping)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "network namespaces are Linux's");
        var hosts = new TwoHosts();
        try
        {
            var (first, second) = (hosts._names[0], hosts._names[1]);
            Require("ip", $"netns add {first}");
            Require("ip", $"netns add {second}");
            Require("ip", $"-n {first} link add name {first} type veth peer name {second} netns {second}");
            for (var host = 0; host < 2; host++)
            {
                var name = hosts._names[host];
                Require("ip", $"-n {name} addr add {Address[..^1]}{host + 1}/24 dev {name}");
                Require("ip", $"-n {name} link set lo up");
                Require("ip", $"-n {name} link set {name} up");
                if (shaping is not null)
                    Require("tc", $"-n {name} qdisc add dev {name} root {shaping}");
            }
            return hosts;
        }
        catch
        {
            hosts.Dispose();
            throw;
        }
    }

    /// <summary>The words that start a program on a host, before the program's own.</summary>
    public string[] On(int host) => ["netns", "exec", _names[host]];

    /// <summary>Cuts the link, or mends it.</summary>
    public void Link(bool isUp) => Assert.Null(Run("ip", $"-n {_names[0]} link set {_names[0]} {(isUp ? "up" : "down")}"));

    /// <summary>Packets that the queues of both ends have lost so far.</summary>
    public int Lost()
    {
        var lost = 0;
        foreach (var name in _names)
        {
            using var process = Process.Start(new ProcessStartInfo("tc", $"-s -n {name} qdisc show dev {name}") { RedirectStandardOutput = true })!;
            lost += int.Parse(Regex.Match(process.StandardOutput.ReadToEnd(), @"dropped (\d+)").Groups[1].Value, CultureInfo.InvariantCulture);
            process.WaitForExit();
        }
        return lost;
    }

    /// <summary>Bytes that a host has sent over the link so far, with the headers of packets.</summary>
    public long Sent(int host)
    {
        var name = _names[host];
        using var process = Process.Start(new ProcessStartInfo("ip", [.. On(host), "cat", $"/sys/class/net/{name}/statistics/tx_bytes"])
        { RedirectStandardOutput = true })!;
        var sent = long.Parse(process.StandardOutput.ReadToEnd(), CultureInfo.InvariantCulture);
        process.WaitForExit();
        return sent;
    }

    private static void Require(string program, string words)
    {
        if (Run(program, words) is { } refused)
            Assert.Skip($"two hosts cannot be made here: `{program} {words}`: {refused}");
    }

    /// <returns>What was said of why it did not work; null where it did.</returns>
    private static string? Run(string program, string words)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, words.Split(' '))
            { RedirectStandardError = true, RedirectStandardOutput = true })!;
            var said = process.StandardError.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0 ? null : said.ReplaceLineEndings(" ").Trim();
        }
        catch (System.ComponentModel.Win32Exception missing)
        {
            return missing.Message;
        }
    }

    public void Dispose()
    {
        foreach (var name in _names)
            Run("ip", $"netns del {name}");         // its end of the link goes with it, and so the other end
    }
}
