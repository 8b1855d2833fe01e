using System.Runtime.InteropServices;

namespace Handbook.Torch.Kernels;

/// <summary>Working memory of a kernel: one buffer per thread and slot, grown when needed and kept, so that a step allocates
/// nothing.</summary>
internal static unsafe class Scratch
{
    /// <summary>Who uses the buffer; kernels that call one another use different slots.</summary>
    public enum Slot { Row, Partials, Order, Attention, AttentionPartials, Panels, Rows, Sums, Count }

    [ThreadStatic] private static Buffers? _buffers;

    /// <summary>At least <paramref name="count"/> elements, aligned to 64 bytes, with old content in them.</summary>
    public static T* Get<T>(Slot slot, long count) where T : unmanaged =>
        (T*)(_buffers ??= new()).Get((int)slot, checked((nuint)(count * sizeof(T))));

    private sealed class Buffers
    {
        private readonly nint[] _address = new nint[(int)Slot.Count];
        private readonly nuint[] _size = new nuint[(int)Slot.Count];

        public void* Get(int slot, nuint bytes)
        {
            if (bytes > _size[slot])
            {
                NativeMemory.AlignedFree((void*)_address[slot]);
                _size[slot] = 0;
                _address[slot] = (nint)NativeMemory.AlignedAlloc(bytes, 64);
                _size[slot] = bytes;
            }
            return (void*)_address[slot];
        }

        ~Buffers()
        {
            foreach (var address in _address)
                NativeMemory.AlignedFree((void*)address);
        }
    }
}
