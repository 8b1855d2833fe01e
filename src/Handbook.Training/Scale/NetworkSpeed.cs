using Handbook.Models.Sharding;

namespace Handbook.Training.Scale;

/// <summary>What a network does for one process.</summary>
/// <param name="BytesPerSecond">Bytes that a process sends in a second while all others send as much: a host's link divided by the processes on
/// it.</param>
/// <param name="Latency">Seconds from the sending of a small message to its arrival.</param>
internal readonly record struct NetworkSpeed(double BytesPerSecond, double Latency)
{
    /// <summary>Seconds of an operation.</summary>
    public double Time(TrafficCost cost) => cost.Bytes / BytesPerSecond + cost.Turns * Latency;
}
