namespace Handbook.Torch.Cuda;

/// <summary>How many blocks a launch has, along each of three directions.</summary>
internal readonly record struct CudaGrid
{
    /// <summary>What a card allows along the first direction, and along the others.</summary>
    public const int LargestX = int.MaxValue, LargestYZ = 65535;

    public CudaGrid(long x, long y = 1, long z = 1)
    {
        if (x is < 0 or > LargestX || y is < 0 or > LargestYZ || z is < 0 or > LargestYZ)
            throw new ArgumentException($"a grid of {x:N0} × {y:N0} × {z:N0} blocks; a card has at most {LargestX:N0} × {LargestYZ:N0} × "
                + $"{LargestYZ:N0}");
        (X, Y, Z) = ((int)x, (int)y, (int)z);
    }

    public int X { get; }

    public int Y { get; }

    public int Z { get; }

    /// <summary>Whether there is nothing to do, which a card would refuse.</summary>
    public bool IsEmpty => X == 0 || Y == 0 || Z == 0;

    /// <summary>As many blocks as so many things need, one block for so many of them.</summary>
    public static long Blocks(long count, long perBlock) => (count + perBlock - 1) / perBlock;
}

/// <summary>One launch of a kernel: grid, threads, shared memory and arguments, those checked against its text.</summary>
internal sealed unsafe class CudaLaunch
{
    private readonly CudaArgument[] _arguments;

    /// <param name="kernel">A kernel of the program.</param>
    /// <param name="threads">Of a block; whole warps, at most 1,024.</param>
    /// <param name="arguments">As the text declares them.</param>
    /// <param name="sharedBytes">Memory of a block whose size only the launch knows.</param>
    public CudaLaunch(CudaProgram program, string kernel, CudaGrid grid, int threads, ReadOnlySpan<CudaArgument> arguments,
        int sharedBytes = 0)
    {
        if (!program.Kernels.TryGetValue(kernel, out var parameters))
            throw new ArgumentException($"{program} has no kernel {kernel}");
        if (threads % 32 != 0 || threads is < 32 or > 1024)
            throw new ArgumentException($"{kernel} in blocks of {threads} threads; blocks are of whole warps of 32, at most 1,024");
        if (parameters.Length != arguments.Length)
            throw new ArgumentException($"{kernel} has {parameters.Length} parameters, the launch {arguments.Length} arguments");
        for (var i = 0; i < parameters.Length; i++)
            if (parameters[i].Type != arguments[i].Type)
                throw new ArgumentException($"{kernel}: parameter {i}, {parameters[i].Name}, is {parameters[i].Type}, its argument "
                    + $"{arguments[i].Type}");
        (Program, Kernel, Grid, Threads, SharedBytes, _arguments) = (program, kernel, grid, threads, sharedBytes, arguments.ToArray());
    }

    public CudaProgram Program { get; }

    /// <summary>The kernel's name: its entry in the program.</summary>
    public string Kernel { get; }

    public CudaGrid Grid { get; }

    /// <summary>Threads of a block.</summary>
    public int Threads { get; }

    /// <summary>Bytes of shared memory beside what the text declares.</summary>
    public int SharedBytes { get; }

    public ReadOnlySpan<CudaArgument> Arguments => _arguments;

    /// <summary>Hands over the addresses of the arguments, one for each parameter, as <c>cuLaunchKernel</c> takes them.</summary>
    public TResult With<TResult>(Func<nint, TResult> launch)
    {
        var addresses = stackalloc void*[_arguments.Length];
        fixed (CudaArgument* arguments = _arguments)
        {
            for (var i = 0; i < _arguments.Length; i++)
                addresses[i] = arguments + i;
            return launch((nint)addresses);
        }
    }

    public override string ToString() =>
        $"{Kernel} of {Program}: {Grid.X}×{Grid.Y}×{Grid.Z} blocks of {Threads} threads, {SharedBytes} bytes";
}
