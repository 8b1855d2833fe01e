using System.Reflection;
using System.Runtime.InteropServices;
using Handbook.Torch.Cuda;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>Launches against the text of their kernels, and grids of more elements than an int counts.</summary>
public sealed unsafe partial class LaunchTests
{
    [Fact]
    public void Types_are_read_as_they_stand_in_the_text()
    {
        var kernels = CudaProgram.ReadKernels("""
            __device__ float inner(float x) { return x; }
            extern "C" __global__ void __launch_bounds__(128) one(const T* __restrict__ x, float *y,
                                                                 i64 count, bf16* copy) {}
            extern "C" __global__ void two(int which) {}
            """, CudaScalar.Float16);
        Assert.Equal(["one", "two"], kernels.Keys);
        Assert.Equal([new(new(CudaScalar.Float16, true), "x"), new(new(CudaScalar.Float32, true), "y"), new(new(CudaScalar.Int64, false), "count"),
            new(new(CudaScalar.BFloat16, true), "copy")], kernels["one"]);
        Assert.Equal([new(new(CudaScalar.Int32, false), "which")], kernels["two"]);
        Assert.Contains("no type of common.cuh", Assert.Throws<FormatException>(() =>
            CudaProgram.ReadKernels("extern \"C\" __global__ void odd(size_t n) {}", CudaScalar.Float32)).Message);
    }

    [Fact]
    public void An_argument_of_another_type_is_refused_by_name()
    {
        var program = CudaProgram.Of<float>("norms");
        Assert.Equal("add_parts: parameter 2, pieces, is Int32, its argument Int64", Refused([(float*)null, (float*)null, 3L, 4L]));
        Assert.Equal("add_parts: parameter 1, target, is Float32*, its argument BFloat16*", Refused([(float*)null, (BFloat16*)null, 3, 4L]));
        Assert.Equal("add_parts has 4 parameters, the launch 3 arguments", Refused([(float*)null, (float*)null, 3]));
        Assert.Contains("no kernel nothing", Assert.Throws<ArgumentException>(() => new CudaLaunch(program, "nothing", new(1), 32, [])).Message);
        Assert.Contains("whole warps", Assert.Throws<ArgumentException>(() =>
            new CudaLaunch(program, "add_parts", new(1), 100, [(float*)null, (float*)null, 3, 4L])).Message);

        string Refused(CudaArgument[] arguments) =>
            Assert.Throws<ArgumentException>(() => new CudaLaunch(program, "add_parts", new(1), 32, arguments)).Message;
    }

    /// <summary>Whatever makes launches, for every element type.</summary>
    private static IEnumerable<MethodInfo> Makers() =>
        from type in typeof(CudaLaunch).Assembly.GetTypes()
        where type.Namespace == typeof(CudaLaunch).Namespace
        from method in type.GetMethods(BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly)
        where method.IsPublic && (method.ReturnType == typeof(CudaLaunch) || method.ReturnType == typeof(CudaLaunch[]))
        from made in Closed(method)
        select made;

    private static IEnumerable<MethodInfo> Closed(MethodInfo method)
    {
        if (!method.IsGenericMethod)
            return [method];
        var isOfRules = method.GetGenericArguments()[0].GetInterfaces().Contains(typeof(IOptimizerRule));
        var lists = method.GetGenericArguments().Length == 1 && isOfRules ? [[typeof(AdamRule)]]
            : s_elements.Select(element => isOfRules ? [typeof(AdamRule), element] : new[] { element });
        return lists.Select(method.MakeGenericMethod);
    }

    private static readonly Type[] s_elements = [typeof(float), typeof(BFloat16), typeof(Half)];

    /// <summary>Launches over two of everything, whose constructor holds their arguments against the text.</summary>
    private static CudaLaunch[] Made(MethodInfo maker)
    {
        try
        {
            var made = maker.Invoke(null, [.. maker.GetParameters().Select(parameter => Smallest(parameter.ParameterType))]);
            return made is CudaLaunch one ? [one] : (CudaLaunch[])made!;
        }
        catch (TargetInvocationException e)
        {
            throw new InvalidOperationException($"{maker}: {e.InnerException!.Message}", e);
        }
    }

    private static object? Smallest(Type type)
    {
        if (type.IsByRef)
            return Smallest(type.GetElementType()!);
        if (type.IsPointer)
            return Pointer.Box(null, type);
        if (type == typeof(int) || type == typeof(long))
            return Convert.ChangeType(2, type);
        if (type == typeof(AdamRule))
            return new AdamRule(1, 0.5, 0.5, 1, 0, 1);
        if (type == typeof(RouterRule))
            return new RouterRule(2);
        if (type == typeof(AttentionShape))
            return new AttentionShape { Heads = 2, KeyHeads = 2, HeadSize = 2, Scale = 1 };
        var made = Activator.CreateInstance(type);
        foreach (var property in type.GetProperties().Where(property => property.Name is "Tokens" or "Rows" or "Width" && property.CanWrite))
            property.SetValue(made, Convert.ChangeType(2, property.PropertyType));
        return made;
    }

    [Fact]
    public void Every_launch_has_the_arguments_that_its_kernel_declares()
    {
        var launched = Makers().SelectMany(Made).Select(launch => (launch.Program, launch.Kernel)).ToHashSet();
        Assert.Equal(CudaProgram.All.SelectMany(program => program.Kernels.Keys.Select(kernel => $"{program} {kernel}")).Order(),
            launched.Select(one => $"{one.Program} {one.Kernel}").Order());
    }

    [Fact]
    public void A_grid_that_no_card_has_is_refused()
    {
        Assert.Equal((int.MaxValue, 65535, 1), (new CudaGrid(int.MaxValue, 65535).X, new CudaGrid(1, 65535).Y, new CudaGrid(1).Z));
        Assert.Contains("2,147,483,648", Assert.Throws<ArgumentException>(() => new CudaGrid(1L << 31)).Message);
        Assert.Contains("65,536", Assert.Throws<ArgumentException>(() => new CudaGrid(1, 65536)).Message);
    }

    [Fact]
    public void More_elements_than_an_int_counts_have_a_grid()
    {
        const long many = (1L << 31) + 9, rows = 1L << 20;
        const int width = 1 << 12;
        Covers(CudaPointwise.Accumulate((BFloat16*)null, null, many, add: true), many, 8);
        Covers(CudaPointwise.Narrow(null, (Half*)null, many), many, 8);
        Covers(CudaPointwise.RoundToBFloat16(null, many), many, 8);
        Covers(CudaPointwise.ActivationForward(Activation.Silu, default, (BFloat16*)null, null, width, null, width, rows, width), rows * width, 8);
        Covers(CudaPointwise.Dropout((float*)null, null, null, rows, width, 0.5, add: false), rows * width, 8);
        Covers(CudaPointwise.Rotate((BFloat16*)null, width, rows, 32, 128, 128, null, null, null, false, false), rows * width / 2, 4);
        Covers(CudaOptimizers.Step(new LionRule(1, 1, 1, 1), (float*)null, null, null, null, null, many, 1, null), many, 8);
        Covers(CudaOptimizers.Step(new LionRule(1, 1, 1, 1), null, null, null, null, null, null, null, null, null, many, 1, null), many, 8);
        Covers(CudaQuantised.QuantiseFourBits((BFloat16*)null, many, null, null, null, null), many, 2);
        Covers(CudaRows.ExpertDots((BFloat16*)null, null, null, null, rows << 10, 8, width), (rows << 13) * 32, 1);
        Covers(CudaAttention.Dots(new() { Heads = 64, KeyHeads = 8, HeadSize = 128, Scale = 1 }, new CudaAttentionArguments<BFloat16>
        {
            Query = null,
            QueryStride = 0,
            Key = null,
            Value = null,
            KeyStride = 0,
            Output = null,
            OutputStride = 0,
            LogSumExp = null,
            Tokens = 1 << 26,
        }, null, 0, null), (1L << 32) * 32, 1);
        Assert.Equal(many / CudaOptimizers.SquaresPiece + 1, CudaOptimizers.Squares((float*)null, many, null).Grid.X);
        Assert.Equal(int.MaxValue, CudaNorms.Forward(null, (BFloat16*)null, null, null, null, null, null, null, int.MaxValue, width, 1, 0, 0).Grid.X);
        Assert.Equal((1 << 30, 2), (CudaHead.Gradient((float*)null, 0, null, null, null, 0, 1L << 30, width, 1 << 17, 1, 0, 0).Grid.X,
            CudaHead.Gradient((float*)null, 0, null, null, null, 0, 1L << 30, width, 1 << 17, 1, 0, 0).Grid.Y));
        Assert.Throws<ArgumentException>(() => CudaNorms.Forward(null, (float*)null, null, null, null, null, null, null, 1L << 31, 1, 1, 0, 0));
        Assert.Throws<OverflowException>(() => CudaRows.ExpertScatter((float*)null, null, null, null, long.MaxValue / 2, 8, 1));

        static void Covers(CudaLaunch launch, long elements, int perThread) => Assert.InRange(
            (long)launch.Grid.X * launch.Grid.Y * launch.Grid.Z * launch.Threads * perThread, elements, elements + launch.Threads * perThread - 1);
    }

    [Fact]
    public void An_element_behind_the_first_two_to_the_thirty_first_is_reached()
    {
        EmulatedLibrary.Need();
        const long count = (1L << 31) + 21;
        // Memory that is promised, and there only where it is touched.
        using var memory = new PromisedMemory(2 * count);
        var data = (BFloat16*)memory.Address;
        data[count - 1] = (BFloat16)3f;
        data[count - 21] = (BFloat16)(-2f);
        using var sums = new PromisedMemory(4 * count);
        var launch = CudaPointwise.Accumulate(data, (float*)sums.Address, count, add: true);
        Emulated.Run(launch, launch.Grid.X - 1, 1);
        Assert.Equal((3f, -2f, 0f), (((float*)sums.Address)[count - 1], ((float*)sums.Address)[count - 21], ((float*)sums.Address)[count - 2]));
    }

    /// <summary>Address space that costs memory only where it is written.</summary>
    private sealed partial class PromisedMemory : IDisposable
    {
        private readonly nuint _size;

        public PromisedMemory(long bytes)
        {
            const int readWrite = 3, privateAnonymousWithoutReserve = 0x2 | 0x20 | 0x4000;
            (_size, Address) = ((nuint)bytes, Map(0, (nuint)bytes, readWrite, privateAnonymousWithoutReserve, -1, 0));
            Assert.NotEqual(-1, Address);
        }

        public nint Address { get; }

        public void Dispose() => Assert.Equal(0, Unmap(Address, _size));

        [LibraryImport("libc", EntryPoint = "mmap")]
        private static partial nint Map(nint address, nuint size, int protection, int flags, int file, long offset);

        [LibraryImport("libc", EntryPoint = "munmap")]
        private static partial int Unmap(nint address, nuint size);
    }
}
