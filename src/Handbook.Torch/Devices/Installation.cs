using System.Globalization;
using Handbook.Base;
using Handbook.Torch.Cuda;
using Handbook.Torch.Distributed;

namespace Handbook.Torch.Devices;

/// <summary>What this machine computes with, in words: libraries, devices, what is there and what is missing.</summary>
internal static class Installation
{
    /// <summary>How far the computation on GPUs has been shown to work.</summary>
    public const string Proof = "unproven on hardware: built and tested without a GPU so far";

    /// <summary>One thing and what is to be said of it.</summary>
    internal readonly record struct Entry(string Topic, string Text);

    /// <summary>Asks libtorch, driver and compiler of this machine.</summary>
    public static IReadOnlyList<Entry> Describe()
    {
        TorchRuntime.Load();
        List<Entry> entries = [new("libtorch", TorchRuntime.Description)];
        entries.AddRange(TorchRuntime.Warnings.Select(warning => new Entry("warning", warning)));
        foreach (var backend in Enum.GetValues<Backend>())
            entries.Add(new(backend.ToString(), backend.Missing is { } missing ? Flat(missing) : "there"));
        entries.Add(new("libtorch on GPUs", TorchCuda.Missing is { } lacks ? Flat(lacks) : $"built for CUDA; sees {Count(TorchCuda.Count, "GPU")}"));
        entries.AddRange(Cards(CudaDriver.Default, CudaDriver.Problem));
        entries.Add(Compiler(Nvrtc.Default, Nvrtc.Problem));
        entries.Add(new("fused in libtorch", string.Join(", ", Fused().Select(each => $"{each.Name} {(each.Is ? "there" : "missing")}"))));
        var here = DeviceKernels.FusedOn(Device.Cuda(0));
        entries.Add(new("fused here", string.Join(", ", here)));
        string[] lacking = [.. DeviceKernels.FusedOn(Device.Cpu).Except(here)];
        entries.Add(new("not yet here", lacking.Length == 0 ? "nothing that the CPU has" : string.Join(", ", lacking)));
        entries.Add(new("GPUs are", Proof));
        return entries;
    }

    /// <param name="driver">Null where there is none that works.</param>
    /// <param name="problem">Why there is none.</param>
    internal static IEnumerable<Entry> Cards(CudaDriver? driver, string problem)
    {
        if (driver is null)
        {
            yield return new("driver", $"none: {problem}");
            yield break;
        }
        yield return new("driver", $"for CUDA {driver.Version} and older; {Count(driver.Cards.Count, "GPU")}");
        foreach (var card in driver.Cards)
        {
            using var context = driver.Open(card.Index);
            var (free, total) = context.Memory;
            string[] kinds = [.. new[] { card.MultipliesBFloat16 ? "bfloat16" : "", card.MultipliesFloat8 ? "float8" : "" }.Where(kind => kind.Length > 0)];
            yield return new($"GPU {card.Index}", string.Create(CultureInfo.InvariantCulture,
                $"{card.Name}, compute capability {card.CapabilityText}, {Size.Of(free)} of {Size.Of(total)} free, {card.Multiprocessors} multiprocessors")
                + (kinds.Length > 0 ? $", products of {string.Join(" and ", kinds)}" : ""));
        }
    }

    internal static Entry Compiler(Nvrtc? compiler, string problem) => new("compiler for kernels", compiler is null ? $"none: {problem}"
        : $"NVRTC {compiler.Version} for compute capability {Capability(compiler.Architectures.Min())} to {Capability(compiler.Architectures.Max())} "
            + $"and newer ({compiler.Path})");

    private static (string Name, bool Is)[] Fused() =>
    [
        ("flash attention", FlashAttention.Find(out _) is not null),
        ("8-bit float products", AtenKernels.ScaledProduct is not null),
        ("AdamW", AtenKernels.FusedAdamW is not null),
        ("RMS norm", AtenKernels.FusedRmsNorm is not null),
    ];

    private static string Capability(int number) => string.Create(CultureInfo.InvariantCulture, $"{number / 10}.{number % 10}");

    private static string Count(int number, string noun) => number == 0 ? $"no {noun}" : $"{number} {noun}{(number == 1 ? "" : "s")}";

    private static string Flat(string missing) => missing.Replace("\n  fix: ", "; ", StringComparison.Ordinal);
}
