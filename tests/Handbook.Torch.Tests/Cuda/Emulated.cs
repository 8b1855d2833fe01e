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

    /// <summary>Names of the kernels that ran in this process.</summary>
    public static HashSet<string> Seen { get; } = [];

    /// <summary>Runs a launch, or some of its blocks.</summary>
    public static void Run(CudaLaunch launch, long firstBlock = 0, long blocks = -1)
    {
        lock (Seen)
            Seen.Add(launch.Kernel);
        launch.With(arguments =>
        {
            s_libraries[launch.Program.Element].Value.Run(launch.Kernel, [(uint)launch.Grid.X, (uint)launch.Grid.Y, (uint)launch.Grid.Z,
                (uint)launch.Threads, (uint)launch.SharedBytes], arguments, s_seed++, firstBlock, blocks);
            return 0;
        });
    }

    /// <summary>What some launches leave: the same under every schedule, and something else under one of them where any of the barriers is
    /// left out.</summary>
    /// <param name="run">Makes its memory, runs launches, returns what they wrote. The same at every call.</param>
    /// <param name="allBarriers">Whether these launches show what each barrier that they pass is for.</param>
    /// <param name="schedules">How many orders of threads are tried.</param>
    public static double[][] Everywhere<T>(Func<double[][]> run, bool allBarriers = true, int schedules = Schedules) where T : unmanaged
    {
        EmulatedLibrary.Need();
        var elements = new[] { CudaType.ScalarOf<T>(), CudaScalar.Float32 }.Distinct().ToArray();    // T, and what is there once
        foreach (var element in elements)
            s_libraries[element].Value.Passed();
        var first = Seeded(0, run);
        for (var seed = 1; seed < schedules; seed++)
        {
            var again = Seeded(seed, run);
            Assert.Equal(first.Length, again.Length);
            for (var i = 0; i < first.Length; i++)
                Lazily.Same(first[i], again[i]);
        }
        foreach (var element in elements)
            foreach (var barrier in s_libraries[element].Value.Passed())
                Assert.True(!allBarriers || IsMissed(barrier, s_libraries[element].Value, first, run),
                    $"{barrier}: without this barrier {Schedules} schedules give the same; is it needed?");
        return first;
    }

    private static string TextOf(CudaSource source) =>
        $"#line 1 \"{CudaProgram.Header}\"\n{source.Headers[CudaProgram.Header]}\n#line 1 \"{source.Name}\"\n{source.Text}";

    private static double[][] Seeded(int seed, Func<double[][]> run)
    {
        s_seed = (ulong)seed * 1_000_003;
        return run();
    }

    private static bool IsMissed(string barrier, EmulatedLibrary library, double[][] right, Func<double[][]> run)
    {
        library.LeaveOut(barrier);
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
            library.LeaveOut(null);
        }
    }
}
