using System.Buffers.Binary;
using System.Diagnostics;
using Handbook.Testing;
using Handbook.Training.Events;

namespace Handbook.Training.Tests.Events;

public sealed class EventFileTests : IDisposable
{
    private readonly TemporaryFolder _run = new();

    public void Dispose() => _run.Dispose();

    [Fact] // RFC 3720 B.4: crc32c of 32 zero bytes is 8a9136aa; rotated right by 15 bits plus a282ead8 by hand
    public void The_masked_checksum_is_that_of_the_format()
    {
        var crc = 0x8a9136aau;
        Assert.Equal(((crc >> 15) | (crc << 17)) + 0xa282ead8u, EventFile.MaskedCrc(new byte[32]));
    }

    [Fact] // the bytes of the version record at time 0, worked out from event.proto and the record format
    public void The_first_record_has_the_known_bytes()
    {
        string path;
        using (var file = new EventFile(_run.Path, clock: new StoppedClock(DateTimeOffset.UnixEpoch)))
            path = file.Path;
        var bytes = File.ReadAllBytes(path);
        Assert.Equal("1800000000000000" + "A37F4B22", Convert.ToHexString(bytes[..12]));
        Assert.Equal("090000000000000000" + "1A0D" + "627261696E2E4576656E743A32", Convert.ToHexString(bytes[12..36]));
        Assert.Equal(40, bytes.Length);
    }

    [Fact]
    public void Scalars_read_back_with_tag_step_and_value()
    {
        string path;
        using (var file = new EventFile(_run.Path))
        {
            file.Scalar("train/loss", 2.5, 10);
            file.Scalar("eval/loss", -1e-3, 300);
            path = file.Path;
        }
        Assert.Equal([("train/loss", 2.5f, 10L), ("eval/loss", -1e-3f, 300L)], EventReader.Scalars(path));
        Assert.Matches(@"runs/[A-Z][a-z]{2}\d\d_\d\d-\d\d-\d\d_[^/]+/events\.out\.tfevents\.\d+\..+\.\d+\.0$", path);
    }

    [Fact]
    public void A_resumed_run_tells_TensorBoard_where_it_continues()
    {
        string path;
        using (var file = new EventFile(_run.Path, resumeStep: 50))
            path = file.Path;
        var start = EventReader.Records(path)[1];
        Assert.EndsWith("1033" + "3A020801", Convert.ToHexString(start), StringComparison.Ordinal);  // step 51, session_log { status 1 }
    }

    [Fact]
    public void TensorBoard_itself_reads_the_file()
    {
        string path;
        using (var file = new EventFile(_run.Path))
        {
            file.Scalar("train/loss", 2.5, 10);
            path = file.Path;
        }
        const string Script = """
            import sys
            from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
            for event in EventFileLoader(sys.argv[1]).Load():
                for value in event.summary.value:
                    print(event.step, value.tag, value.tensor.float_val[0] if value.HasField('tensor') else value.simple_value)
            """;
        Process? python;
        try
        {
            python = Process.Start(new ProcessStartInfo("python3", ["-c", Script, path])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true
            });
        }
        catch (System.ComponentModel.Win32Exception)
        {
            python = null;
        }
        Assert.SkipWhen(python is null, "there is no python3 here");
        using (python)
        {
            var output = python!.StandardOutput.ReadToEnd();
            var errors = python.StandardError.ReadToEnd();
            python.WaitForExit();
            Assert.SkipWhen(errors.Contains("No module named", StringComparison.Ordinal),
                "this python3 has no tensorboard; the known bytes above stand in");
            Assert.Equal("10 train/loss 2.5\n", output);
        }
    }

    private sealed class StoppedClock(DateTimeOffset now) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => now;
    }
}

/// <summary>Reads event files back: frames with their checksums, and the scalars in them.</summary>
internal static class EventReader
{
    public static List<byte[]> Records(string path)
    {
        var bytes = File.ReadAllBytes(path).AsSpan();
        var records = new List<byte[]>();
        while (bytes.Length > 0)
        {
            var length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            Assert.Equal(EventFile.MaskedCrc(bytes[..8]), BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]));
            Assert.Equal(EventFile.MaskedCrc(bytes.Slice(12, length)), BinaryPrimitives.ReadUInt32LittleEndian(bytes[(12 + length)..]));
            records.Add(bytes.Slice(12, length).ToArray());
            bytes = bytes[(16 + length)..];
        }
        return records;
    }

    public static List<(string Tag, float Value, long Step)> Scalars(string path)
    {
        var scalars = new List<(string, float, long)>();
        foreach (var record in Records(path))
        {
            long step = 0;
            foreach (var (field, number, content) in Fields(record))
                if (field == 2)
                    step = (long)number;
                else if (field == 5)
                    foreach (var (_, _, value) in Fields(content))
                    {
                        var parts = Fields(value).ToDictionary(part => part.Field);
                        scalars.Add((System.Text.Encoding.UTF8.GetString(parts[1].Content),
                            BitConverter.UInt32BitsToSingle((uint)parts[2].Number), step));
                    }
        }
        return scalars;
    }

    private static List<(int Field, ulong Number, byte[] Content)> Fields(byte[] message)
    {
        var fields = new List<(int, ulong, byte[])>();
        var at = 0;
        ulong Varint()
        {
            ulong value = 0;
            for (var shift = 0; ; shift += 7)
            {
                var b = message[at++];
                value |= (ulong)(b & 0x7f) << shift;
                if (b < 0x80)
                    return value;
            }
        }
        while (at < message.Length)
        {
            var key = Varint();
            ulong number = 0;
            byte[] content = [];
            switch (key & 7)
            {
                case 0: number = Varint(); break;
                case 1: number = BinaryPrimitives.ReadUInt64LittleEndian(message.AsSpan(at)); at += 8; break;
                case 5: number = BinaryPrimitives.ReadUInt32LittleEndian(message.AsSpan(at)); at += 4; break;
                case 2: var length = (int)Varint(); content = message[at..(at + length)]; at += length; break;
                default: throw new InvalidDataException($"wire type {key & 7}");
            }
            fields.Add(((int)(key >> 3), number, content));
        }
        return fields;
    }
}
