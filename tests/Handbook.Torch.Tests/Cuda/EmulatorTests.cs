using Handbook.Torch.Cuda;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The emulator itself: it computes what a card would, and shows what a card may hide.</summary>
public sealed unsafe class EmulatorTests
{
    private const string Text = """
        #line 1 "trial.cu"
        extern "C" __global__ void reversed(const int* x, int* y) {
          __shared__ int turned[64];
          turned[63 - threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
          __syncthreads();
          y[blockIdx.x * 64 + threadIdx.x] = turned[threadIdx.x];
        }
        extern "C" __global__ void forgotten(const int* x, int* y) {
          __shared__ int turned[64];
          turned[63 - threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
          y[blockIdx.x * 64 + threadIdx.x] = turned[threadIdx.x];
        }
        extern "C" __global__ void lonely(int* y) {
          if (threadIdx.x < 32) __shfl_xor_sync(0xffffffffu, 1, 1);
          if (threadIdx.x != 40) __shfl_xor_sync(0xffffffffu, 1, 1);
          y[threadIdx.x] = 1;
        }
        extern "C" __global__ void endless(int* y) {
          while (y[0] == 0) __syncthreads();
        }
        extern "C" __global__ void outside(int bytes) {
          ((char*)shared_words)[bytes] = 1;
        }
        extern "C" __global__ void collected(int* y) {
          const int lane = threadIdx.x & 31;
          atomicAdd(y, 1);
          atomicMax(y + 1, (int)threadIdx.x);
          const unsigned odd = __ballot_sync(0xffffffffu, lane & 1);
          const int below = __shfl_up_sync(0xffffffffu, lane, 1), above = __shfl_down_sync(0xffffffffu, lane, 2);
          y[2 + threadIdx.x] = __popc(odd) * 10000 + below * 100 + above + __shfl_sync(0xffffffffu, lane, 7) * 1000000;
        }
        """;

    private static readonly Lazy<EmulatedLibrary> s_library = new(() =>
        new("trial", [("trial", Text, CudaProgram.ReadKernels(Text, CudaScalar.Float32))]));

    private static int[] Run(string kernel, int[]? input, int[] output, ulong seed, uint blocks = 1)
    {
        EmulatedLibrary.Need();
        fixed (int* from = input, to = output)
        {
            int* first = from, second = to;
            var arguments = stackalloc void*[] { input is null ? &second : &first, &second };
            s_library.Value.Run(kernel, [blocks, 1, 1, 64, 0], (nint)arguments, seed);
        }
        return output;
    }

    private static int[] Turned => [.. Enumerable.Range(0, 3).SelectMany(block => Enumerable.Range(0, 64).Select(i => block * 64 + 63 - i))];

    [Fact]
    public void What_waits_at_a_barrier_is_right_under_every_schedule()
    {
        for (var seed = 0; seed < 20; seed++)
            Assert.Equal(Turned, Run("reversed", [.. Enumerable.Range(0, 192)], new int[192], (ulong)seed, blocks: 3));
    }

    [Fact]
    public void A_forgotten_barrier_gives_other_answers() => Assert.Contains(Enumerable.Range(0, 20),
        seed => !Turned.SequenceEqual(Run("forgotten", [.. Enumerable.Range(0, 192)], new int[192], (ulong)seed, blocks: 3)));

    [Fact]
    public void A_barrier_is_left_out_by_its_place()
    {
        Run("reversed", new int[64], new int[64], 0);
        Assert.Contains("trial.cu:4", s_library.Value.Passed());
        s_library.Value.LeaveOut("trial.cu:4");
        Assert.Contains(Enumerable.Range(0, 20),
            seed => !Turned.SequenceEqual(Run("reversed", [.. Enumerable.Range(0, 192)], new int[192], (ulong)seed, blocks: 3)));
        s_library.Value.LeaveOut(null);
    }

    [Theory]
    [InlineData("lonely", "lonely: some threads wait at a barrier or shuffle that others never reach")]
    [InlineData("endless", "endless: does not end")]
    public void What_would_hang_a_card_is_reported(string kernel, string message) =>
        Assert.Equal(message, Assert.Throws<InvalidOperationException>(() => Run(kernel, null, new int[64], 1)).Message);

    [Fact]
    public void Memory_behind_what_a_launch_asked_for_is_watched()
    {
        EmulatedLibrary.Need();
        var bytes = 128;
        var arguments = stackalloc void*[] { &bytes };
        var library = s_library.Value;
        var address = (nint)arguments;
        library.Run("outside", [1, 1, 1, 32, 144], address, 0);
        Assert.Equal("outside: writes behind its shared memory",
            Assert.Throws<InvalidOperationException>(() => library.Run("outside", [1, 1, 1, 32, 128], address, 0)).Message);
    }

    [Fact]
    public void Lanes_hear_of_each_other()
    {
        var said = Run("collected", null, new int[66], 3);
        Assert.Equal((64, 63), (said[0], said[1]));
        for (var thread = 0; thread < 64; thread++)
        {
            var lane = thread % 32;
            Assert.Equal(7_000_000 + 160_000 + Math.Max(0, lane - 1) * 100 + (lane + 2 < 32 ? lane + 2 : lane), said[2 + thread]);
        }
    }
}
