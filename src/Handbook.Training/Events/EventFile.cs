using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;

namespace Handbook.Training.Events;

/// <summary>A TensorBoard event file of scalars:
/// <c>runs/&lt;date&gt;_&lt;host&gt;/events.out.tfevents.&lt;time&gt;.&lt;host&gt;.&lt;pid&gt;.0</c>.</summary>
/// <remarks>
/// Each record is framed as TensorFlow does it:
/// <code>
/// uint64 length · uint32 masked(crc32c(length)) · data · uint32 masked(crc32c(data))      little endian
/// masked(c) = rotate_right(c, 15) + 0xa282ead8
/// </code>
/// and holds one <c>tensorflow.Event</c>. A run that continues from step k first says so, and TensorBoard drops what it had after k.
/// </remarks>
internal sealed class EventFile : IDisposable
{
    private readonly FileStream _stream;
    private readonly TimeProvider _clock;

    /// <param name="outputDir">The run folder.</param>
    /// <param name="resumeStep">The step that the run continues from; 0 for a new run.</param>
    /// <param name="clock">The time of day; null for the system's.</param>
    /// <param name="folder">Where the file goes; null for a folder of its own below <c>runs/</c>.</param>
    public EventFile(string outputDir, int resumeStep = 0, TimeProvider? clock = null, string? folder = null)
    {
        _clock = clock ?? TimeProvider.System;
        var now = _clock.GetLocalNow();
        var host = Environment.MachineName;
        folder ??= System.IO.Path.Combine(outputDir, "runs", $"{now.ToString("MMMdd_HH-mm-ss", CultureInfo.InvariantCulture)}_{host}");
        Directory.CreateDirectory(folder);
        Path = System.IO.Path.Combine(folder, $"events.out.tfevents.{now.ToUnixTimeSeconds()}.{host}.{Environment.ProcessId}.0");
        _stream = new FileStream(Path, FileMode.Create, FileAccess.Write, FileShare.ReadWrite);
        WriteRecord(Event(0).Text(3, "brain.Event:2"));
        if (resumeStep > 0)
            WriteRecord(Event(resumeStep + 1).Message(7, new ProtoMessage().Integer(1, 1)));   // session_log { status: START }
    }

    public string Path { get; }

    /// <summary>Writes one scalar of a step, e.g. <c>train/loss</c>.</summary>
    public void Scalar(string tag, double value, long step) =>
        WriteRecord(Event(step).Message(5, new ProtoMessage().Message(1, new ProtoMessage().Text(1, tag).Single(2, (float)value))));

    public void Flush() => _stream.Flush();

    public void Dispose() => _stream.Dispose();

    private ProtoMessage Event(long step)
    {
        var message = new ProtoMessage().Double(1, (_clock.GetUtcNow() - DateTimeOffset.UnixEpoch).TotalSeconds);
        return step == 0 ? message : message.Integer(2, step);
    }

    private void WriteRecord(ProtoMessage message)
    {
        var data = message.ToArray();
        var record = new byte[12 + data.Length + 4];
        BinaryPrimitives.WriteUInt64LittleEndian(record, (ulong)data.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(8), MaskedCrc(record.AsSpan(0, 8)));
        data.CopyTo(record, 12);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(12 + data.Length), MaskedCrc(data));
        _stream.Write(record);
    }

    internal static uint MaskedCrc(ReadOnlySpan<byte> data)
    {
        var crc = uint.MaxValue;
        foreach (var b in data)
            crc = BitOperations.Crc32C(crc, b);
        return BitOperations.RotateRight(~crc, 15) + 0xa282ead8u;
    }
}
