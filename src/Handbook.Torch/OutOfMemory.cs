using System.Globalization;
using System.Text.RegularExpressions;
using Handbook.Torch.Devices;

namespace Handbook.Torch;

/// <summary>A failure for want of memory, as libtorch, the driver or .NET reported it.</summary>
/// <param name="Said">Its first words, without what concerns libtorch's own settings.</param>
/// <param name="OnGpu">Whether it was a GPU's memory.</param>
/// <param name="Asked">Bytes of the tensor that found no room; null where nobody says.</param>
/// <param name="Total">Bytes of the device's memory; null where nobody says.</param>
internal sealed partial record OutOfMemory(string Said, bool OnGpu, long? Asked, long? Total)
{
    /// <summary>What is full, in a sentence.</summary>
    public string Message => $"{(OnGpu ? "the GPU's" : "the machine's")} memory is full: {Said}";

    /// <summary>What else may help there; empty where there is nothing more.</summary>
    public string Advice => OnGpu ? $"see with nvidia-smi whether others use the card, or compute on the CPU with {ComputeDevice.OnCpu}" : "";

    /// <summary>What an exception says of memory, or one that it holds; null where it is about something else.</summary>
    public static OutOfMemory? In(Exception exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        for (var at = exception; at is not null; at = at.InnerException)
            switch (at)
            {
                case TorchException when Of(at.Message) is { } found:
                    return found;
                case CudaException { IsOutOfMemory: true }:
                    return new(at.Message, OnGpu: true, null, null);
                case OutOfMemoryException:
                    return new(at.Message, OnGpu: false, null, null);
                case AggregateException { InnerExceptions: [_, _, ..] all } when all.Select(In).FirstOrDefault(one => one is not null) is { } found:
                    return found;
            }
        return null;
    }

    /// <param name="message">libtorch's.</param>
    internal static OutOfMemory? Of(string message)
    {
        var gpu = OnCard().Match(message);
        if (gpu.Success)
            return new(gpu.Value.TrimEnd('.'), OnGpu: true, Bytes(Asks().Match(gpu.Value)), Bytes(Capacity().Match(message)));
        var cpu = OnMachine().Match(message);
        return cpu.Success ? new(cpu.Value, OnGpu: false, long.TryParse(cpu.Groups["bytes"].Value, out var bytes) ? bytes : null, null) : null;
    }

    private static long? Bytes(Match size) => !size.Success ? null : (long)(double.Parse(size.Groups["number"].Value, CultureInfo.InvariantCulture)
        * size.Groups["unit"].Value switch { "GiB" => 1L << 30, "MiB" => 1L << 20, "KiB" => 1L << 10, _ => 1 });

    // "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of …" since 2.2, "… 2.00 GiB (GPU 0; 79.15 GiB total
    // capacity; …" before.
    [GeneratedRegex(@"CUDA out of memory\.( Tried to allocate [\d.]+ \w+)?")]
    private static partial Regex OnCard();

    [GeneratedRegex(@"Tried to allocate (?<number>[\d.]+) (?<unit>\w+)")]
    private static partial Regex Asks();

    [GeneratedRegex(@"total capacity of (?<number>[\d.]+) (?<unit>\w+)|(?<number>[\d.]+) (?<unit>\w+) total capacity")]
    private static partial Regex Capacity();

    // c10's allocator of the CPU; C++'s own
    [GeneratedRegex(@"(can't allocate memory|not enough memory): you tried to allocate (?<bytes>\d+) bytes|(?<=\A|: )out of memory\z")]
    private static partial Regex OnMachine();
}
