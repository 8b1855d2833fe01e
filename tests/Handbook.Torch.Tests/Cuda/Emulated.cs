using Handbook.Testing;
using Handbook.Torch.Cuda;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>Runs launches of the project's kernels on the CPU, under many orders of their threads.</summary>
internal static unsafe class Emulated
{
    private const int Schedules = 20;

    private static readonly Dictionary<CudaScalar, Lazy<EmulatedLibrary>> s_libraries = CudaProgram.Elements.ToDictionary(element => element,
        element => new Lazy<EmulatedLibrary>(() => new($"kernels-{CudaProgram.TypeName(element)}",
            CudaProgram.All.Where(program => program.Element == element).Select(p => (p.Name, TextOf(p.Source), p.Kernels)))));

    [ThreadStatic] private static ulong s_seed;
    [ThreadStatic] private static HashSet<Barrier>? s_passed;
    [ThreadStatic] private static Barrier? s_leftOut;

    /// <summary>A barrier of one kernel, by the file and line where it stands.</summary>
    private sealed record Barrier(CudaProgram Program, string Kernel, string Place);

    /// <summary>Runs a launch, or some of its blocks.</summary>
    public static void Run(CudaLaunch launch, long firstBlock = 0, long blocks = -1)
    {
        var library = s_libraries[launch.Program.Element].Value;
        library.LeaveOut(s_leftOut is { } barrier && (barrier.Program, barrier.Kernel) == (launch.Program, launch.Kernel) ? barrier.Place : null);
        if (s_passed is not null)
            library.Passed();       // what others left
        launch.With(arguments =>
        {
            library.Run(launch.Kernel, [(uint)launch.Grid.X, (uint)launch.Grid.Y, (uint)launch.Grid.Z, (uint)launch.Threads,
                (uint)launch.SharedBytes], arguments, s_seed++, firstBlock, blocks);
            return 0;
        });
        foreach (var place in s_passed is null ? [] : library.Passed())
            s_passed!.Add(new(launch.Program, launch.Kernel, place));
    }

    /// <summary>What some launches leave: the same under every schedule, and something else under one of them where any of the barriers is
    /// left out.</summary>
    /// <param name="run">Makes its memory, runs launches, returns what they wrote. The same at every call.</param>
    /// <param name="allBarriers">Whether these launches show what each barrier that they pass is for.</param>
    /// <param name="schedules">How many orders of threads are tried.</param>
    public static double[][] Everywhere(Func<double[][]> run, bool allBarriers = true, int schedules = Schedules)
    {
        EmulatedLibrary.Need();
        var passed = s_passed = [];
        var first = Seeded(0, run);
        s_passed = null;
        for (var seed = 1; seed < schedules; seed++)
        {
            var again = Seeded(seed, run);
            Assert.Equal(first.Length, again.Length);
            for (var i = 0; i < first.Length; i++)
                Lazily.Same(first[i], again[i]);
        }
        if (allBarriers)
            foreach (var barrier in passed)
                Assert.True(IsMissed(barrier, first, run),
                    $"{barrier.Kernel}, {barrier.Place}: without this barrier {Schedules} schedules give the same; is it needed?");
        return first;
    }

    private static string TextOf(CudaSource source) =>
        $"#line 1 \"{CudaProgram.Header}\"\n{source.Headers[CudaProgram.Header]}\n#line 1 \"{source.Name}\"\n{source.Text}";

    private static double[][] Seeded(int seed, Func<double[][]> run)
    {
        s_seed = (ulong)seed * 1_000_003;
        return run();
    }

    private static bool IsMissed(Barrier barrier, double[][] right, Func<double[][]> run)
    {
        s_leftOut = barrier;
        try
        {
            for (var seed = 0; seed < Schedules; seed++)
            {
                var result = Seeded(seed, run);
                for (var i = 0; i < right.Length; i++)
                    if (!right[i].AsSpan().SequenceEqual(result[i]))
                        return true;
            }
            return false;
        }
        catch (Exception)       // it never ended, or wrote outside
        {
            return true;
        }
        finally
        {
            s_leftOut = null;
        }
    }
}
