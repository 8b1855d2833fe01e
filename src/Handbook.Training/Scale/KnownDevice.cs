using Handbook.Base;

namespace Handbook.Training.Scale;

/// <summary>A kind of device that runs may be planned for.</summary>
/// <param name="Name">As it is written on the command line.</param>
/// <param name="Memory">Bytes, as the device reports them.</param>
/// <param name="Tflops">10¹² operations a second of dense products in bfloat16 (float16 where it has none), as its maker states them.</param>
/// <param name="Link">Bytes a second from one device of a host to another, one way.</param>
internal sealed record KnownDevice(string Name, long Memory, double Tflops, double Link)
{
    private const long MiB = 1 << 20;

    /// <summary>The share of the stated rate that whole training steps reach on large models.</summary>
    public const double UsualShare = 0.4;

    /// <summary>What a device keeps for itself: its context and the libraries' work space.</summary>
    public const long Context = 900 * MiB;

    /// <summary>All of them.</summary>
    public static IReadOnlyList<KnownDevice> All { get; } =
    [
        new("a10-24g", 23028 * MiB, 125, 25e9),
        new("a100-40g", 40960 * MiB, 312, 300e9),
        new("a100-80g", 81920 * MiB, 312, 300e9),
        new("b200-180g", 183359 * MiB, 2250, 900e9),
        new("h100-80g", 81559 * MiB, 989, 450e9),
        new("h200-141g", 143771 * MiB, 989, 450e9),
        new("l4-24g", 23034 * MiB, 121, 25e9),
        new("l40s-48g", 46068 * MiB, 362, 25e9),
        new("mi300x-192g", 196288 * MiB, 1307, 448e9),
        new("rtx3090-24g", 24576 * MiB, 71, 25e9),
        new("rtx4090-24g", 24564 * MiB, 165, 25e9),
        new("rtx5090-32g", 32607 * MiB, 210, 50e9),
        new("t4-16g", 15360 * MiB, 65, 12e9),
        new("v100-32g", 32510 * MiB, 125, 150e9),
    ];

    /// <exception cref="InputException">There is none of that name.</exception>
    public static KnownDevice Of(string name) => All.FirstOrDefault(device => device.Name == name)
        ?? throw new InputException($"--device {name} is not known", why: "its memory and speed decide what fits and how long it takes",
            fix: $"use one of {string.Join(", ", All.Select(device => device.Name))}; for another device give --memory, --rate and --network");
}
