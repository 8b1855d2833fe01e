using System.Collections.Concurrent;
using Handbook.Testing;
using Handbook.Torch.Cuda;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>Every text of kernels as machine code for four generations of cards, and what each kernel needs of them.</summary>
/// <remarks>The needs lie in <c>tests/golden/cuda-kernels.txt</c>, so that a change shows a kernel that outgrew its registers. With
/// <c>HANDBOOK_WRITE_GOLDEN=1</c> they are written there in the place of compared.</remarks>
[Trait("needs", "nvrtc")]
public sealed class CompiledKernelTests
{
    private static readonly int[] s_architectures = [80, 86, 89, 90];

    private static readonly string s_golden = Path.Combine(SharedFiles.Repository, "tests", "golden", "cuda-kernels.txt");

    // By hand: dotnet exec … -method "*Every_kernel_compiles_for_every_card"
    private static bool Writes => Environment.GetEnvironmentVariable("HANDBOOK_WRITE_GOLDEN") == "1";

    // Each program for the newest, and for one of the older ones in turn: a text with its three element types sees all four, at half the cost.
    [Fact]
    public void Every_kernel_compiles_without_a_remark_and_needs_what_the_table_says() => Check([.. CudaProgram.All
        .OrderBy(program => program.ToString(), StringComparer.Ordinal)
        .SelectMany((program, i) => (IEnumerable<(CudaProgram, int)>)[(program, s_architectures[^1]),
            (program, s_architectures[i % (s_architectures.Length - 1)])])]);

    [Fact, Trait("speed", "slow")]
    public void Every_kernel_compiles_for_every_card() =>
        Check([.. from program in CudaProgram.All from architecture in s_architectures select (program, architecture)]);

    private static void Check((CudaProgram Program, int Architecture)[] what)
    {
        var compiler = CudaCheck.Compiler();
        var needs = new ConcurrentDictionary<(CudaProgram Program, int Architecture), CubinKernel[]>();
        // the longest texts first: what is left at the end is short
        Parallel.ForEach(Partitioner.Create(what.OrderByDescending(each => each.Program.Source.Text.Length).ToArray(), loadBalance: true), each =>
        {
            var binary = compiler.Compile(each.Program.Source, new(each.Architecture));
            Assert.Equal("", binary.Log);
            var kernels = CubinKernel.Read(binary.Image);
            Assert.Equal(each.Program.Kernels.Keys.Order(StringComparer.Ordinal), kernels.Select(kernel => kernel.Name));
            Assert.All(kernels, kernel => Assert.True(kernel is { LocalBytes: 0, SharedBytes: <= 48 * 1024 },
                $"{kernel} on sm_{each.Architecture}: registers spill, or too much shared memory"));
            needs[each] = kernels;
        });
        var all = from program in CudaProgram.All
                  from kernel in program.Kernels.Keys
                  orderby program.Name, kernel, program.Element
                  select (program, kernel);
        var title = $"# NVRTC {compiler.Version}, by architecture: registers of a thread, and shared memory of a block in bytes. Written by "
            + "CompiledKernelTests with HANDBOOK_WRITE_GOLDEN=1.";
        if (Writes && what.Length == CudaProgram.All.Count * s_architectures.Length)
            File.WriteAllLines(s_golden, [title, .. all.Select(one => $"{Heading(one.program, one.kernel)}"
                + string.Concat(s_architectures.Select(architecture => Column(one.program, one.kernel, architecture))))]);
        var golden = File.ReadAllLines(s_golden);
        if (golden[0] != title)      // another release of the compiler has other numbers
            return;
        Assert.Equal(all.Select(one => Heading(one.program, one.kernel)), golden.Skip(1).Select(line => line[..HeadingWidth]));
        foreach (var (one, line) in all.Zip(golden.Skip(1)))
            foreach (var (_, architecture) in what.Where(each => each.Program == one.program))
                Assert.True(line.Contains(Column(one.program, one.kernel, architecture) + " ", StringComparison.Ordinal)
                    || line.EndsWith(Column(one.program, one.kernel, architecture), StringComparison.Ordinal),
                    $"{one.kernel} of {one.program} now needs{Column(one.program, one.kernel, architecture)}, and in {s_golden}: {line}");

        string Column(CudaProgram program, string kernel, int architecture)
        {
            var one = needs[(program, architecture)].Single(each => each.Name == kernel);
            return $"  sm_{architecture} {one.Registers,3} {one.SharedBytes,5}";
        }
    }

    private const int HeadingWidth = 44;

    private static string Heading(CudaProgram program, string kernel) =>
        $"{program.Name,-12} {kernel,-24} {CudaProgram.TypeName(program.Element),-6}";

    [Fact]
    public void What_is_no_cubin_is_refused()
    {
        Assert.Contains("no 64-bit little-endian ELF file", Assert.Throws<FormatException>(() => CubinKernel.Read(new byte[100])).Message);
        var cubin = CudaCheck.Compiler().Compile(CudaProgram.Of<float>("norms").Source, new(80)).Image;
        Assert.Contains("cut off", Assert.Throws<FormatException>(() => CubinKernel.Read(cubin.AsSpan(0, 200))).Message);
    }
}
