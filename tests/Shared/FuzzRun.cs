using System.Diagnostics;
using Handbook.Base;

namespace Handbook.Testing;

/// <summary>Reads many damaged files: each must give an answer or a message for the user, in time and without filling memory.</summary>
internal static class FuzzRun
{
    /// <summary>Far more than any file here may take, on a machine that does other things as well.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private const long MostMemory = 4L << 30;

    /// <summary>How many files: a few in the usual tests, as many as <c>HANDBOOK_FUZZ</c> says in <c>make fuzz</c>.</summary>
    public static int Cases(int few) => int.TryParse(Environment.GetEnvironmentVariable("HANDBOOK_FUZZ"), out var many) ? many : few;

    /// <param name="name">What is read, for messages.</param>
    /// <param name="seeds">Whole files.</param>
    /// <param name="words">What the format is made of.</param>
    /// <param name="few">Files in the usual tests.</param>
    /// <param name="read">Reads one; an <see cref="InputException"/> is an answer.</param>
    public static void Over(string name, IReadOnlyList<byte[]> seeds, IReadOnlyList<string> words, int few, Action<byte[]> read)
    {
        var mutator = new Mutator(seeds, [.. words.Select(System.Text.Encoding.UTF8.GetBytes)]);
        var cases = Cases(few);
        var (number, started) = (0, Stopwatch.GetTimestamp());
        string? failure = null;
        // A thread of its own: what hangs is seen from here, and has the stack of a usual thread.
        var worker = new Thread(() =>
        {
            for (var i = 0; i < cases && failure is null; i++)
            {
                var file = mutator.Make(i);
                Volatile.Write(ref started, Stopwatch.GetTimestamp());
                Volatile.Write(ref number, i);
                try
                {
                    read(file);
                }
                catch (InputException)
                {
                    // A message for the user.
                }
                catch (Exception wrong)
                {
                    failure = $"{Kept(name, i, file)}: {wrong}";
                }
                if (i % 64 == 0 && Environment.WorkingSet > MostMemory)
                    failure = $"{Kept(name, i, file)}: the process has grown to {Environment.WorkingSet >> 20} MiB";
            }
        })
        { IsBackground = true };
        worker.Start();
        while (!worker.Join(TimeSpan.FromMilliseconds(200)))
            if (Stopwatch.GetElapsedTime(Volatile.Read(ref started)) > s_patience)
            {
                var last = Volatile.Read(ref number);
                failure ??= $"{Kept(name, last, mutator.Make(last))}: still not read after {s_patience}";
                break;
            }
        Assert.True(failure is null, failure);
    }

    /// <summary>Puts a file aside, and says where.</summary>
    private static string Kept(string name, int number, byte[] file)
    {
        var place = Path.Combine(Path.GetTempPath(), $"handbook-fuzz-{name}-{number}");
        File.WriteAllBytes(place, file);
        return $"{name} number {number} ({place})";
    }
}
