using System.Buffers.Binary;
using System.IO.Compression;
using System.Xml.Linq;
using Handbook.Testing;
using Handbook.Training.Metrics;
using Handbook.Training.Plots;

namespace Handbook.Training.Tests.Plots;

public sealed class LossPlotTests : IDisposable
{
    private readonly TemporaryFolder _run = new();

    public void Dispose() => _run.Dispose();

    [Theory]
    [InlineData("tiny-sft", 600, true)]
    [InlineData("a <strange> & \"named\" run \u0001", 40, false)]
    [InlineData("one-point", 1, true)]
    [InlineData("long", 20_000, true)]
    public void Both_files_are_what_their_names_say(string title, int points, bool held)
    {
        var plot = new LossPlot(_run.Path, title);
        foreach (var entry in Some.Run(points, held))
            plot.Add(entry);
        plot.Write();

        var svg = XDocument.Load(_run["loss.svg"]);     // well-formed
        Assert.Contains(svg.Descendants(), element => element.Name.LocalName == "title");
        var (width, height, pixels) = ReadPng(File.ReadAllBytes(_run["loss.png"]));
        Assert.Equal((1800, 1000), (width, height));
        // The training line's blue and, where there is one, the held-out line's orange are somewhere in the picture.
        Assert.True(Has(pixels, 0x25, 0x63, 0xeb));
        Assert.Equal(held, Has(pixels, 0xea, 0x58, 0x0c));
        Keep(title);
    }

    [Fact]
    public void A_loss_that_is_not_a_number_is_left_out_and_nothing_logged_draws_nothing()
    {
        var plot = new LossPlot(_run.Path, "x");
        plot.Add(new MetricSet { ["step"] = 1, ["loss"] = double.NaN });
        plot.Write();
        Assert.False(File.Exists(_run["loss.png"]));
    }

    [Fact]
    public void It_is_drawn_at_the_first_log_and_then_not_at_every_one()
    {
        var plot = new LossPlot(_run.Path, "x");
        plot.Add(new MetricSet { ["step"] = 1, ["loss"] = 2.0 });
        plot.WriteIfDue();
        var first = File.ReadAllText(_run["loss.svg"]);
        plot.Add(new MetricSet { ["step"] = 2, ["loss"] = 1.0 });
        plot.WriteIfDue();
        Assert.Equal(first, File.ReadAllText(_run["loss.svg"]));
        plot.Write();
        Assert.NotEqual(first, File.ReadAllText(_run["loss.svg"]));
    }

    [Theory]
    [InlineData(0, 10, 5, "0 2 4 6 8 10")]
    [InlineData(2.31, 10.4, 6, "4 6 8 10")]
    [InlineData(0, 600, 8, "0 100 200 300 400 500 600")]
    [InlineData(0, 20000, 8, "0k 5k 10k 15k 20k")]
    [InlineData(1.25, 1.5, 6, "1.25 1.30 1.35 1.40 1.45 1.50")]
    public void Ticks_are_round_numbers(double low, double high, int count, string expected) =>
        Assert.Equal(expected.Replace("0k 5k", "0 5k"), string.Join(' ', Ticks.Labels(Ticks.Linear(low, high, count))));

    [Fact]
    public void Every_printable_character_has_a_drawing_of_its_own()
    {
        var box = StrokeFont.Strokes("\u25A1", new(0, 0), 10).Sum(stroke => stroke.Sum(point => point.X * 3 + point.Y));
        for (var c = '!'; c <= '~'; c++)
            Assert.NotEqual(box, StrokeFont.Strokes(c.ToString(), new(0, 0), 10).Sum(stroke => stroke.Sum(point => point.X * 3 + point.Y)));
        Assert.Equal(StrokeFont.Width("0", 10), StrokeFont.Width("1", 10));     // figures line up
    }

    // For a look at the result: HANDBOOK_KEEP_PLOTS names a folder.
    private void Keep(string title)
    {
        if (Environment.GetEnvironmentVariable("HANDBOOK_KEEP_PLOTS") is { Length: > 0 } folder)
            foreach (var name in new[] { "loss.svg", "loss.png" })
                File.Copy(_run[name], Path.Combine(folder, string.Concat(title.Where(char.IsAsciiLetterOrDigit)) + "-" + name),
                    overwrite: true);
    }

    private static bool Has(byte[] pixels, byte red, byte green, byte blue)
    {
        for (var i = 0; i < pixels.Length; i += 3)
            if (Math.Abs(pixels[i] - red) + Math.Abs(pixels[i + 1] - green) + Math.Abs(pixels[i + 2] - blue) < 12)
                return true;
        return false;
    }

    // Follows ISO/IEC 15948; the checksums are checked with a bitwise CRC.
    private static (int Width, int Height, byte[] Pixels) ReadPng(byte[] png)
    {
        Assert.Equal([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a], png[..8]);
        var (width, height, data) = (0, 0, new MemoryStream());
        for (var at = 8; at < png.Length;)
        {
            var length = BinaryPrimitives.ReadInt32BigEndian(png.AsSpan(at));
            var type = System.Text.Encoding.ASCII.GetString(png, at + 4, 4);
            var body = png.AsSpan(at + 8, length);
            var crc = uint.MaxValue;
            foreach (var b in png.AsSpan(at + 4, length + 4))
            {
                crc ^= b;
                for (var bit = 0; bit < 8; bit++)
                    crc = (crc & 1) != 0 ? 0xedb88320u ^ (crc >> 1) : crc >> 1;
            }
            Assert.Equal(~crc, BinaryPrimitives.ReadUInt32BigEndian(png.AsSpan(at + 8 + length)));
            if (type == "IHDR")
                (width, height) = (BinaryPrimitives.ReadInt32BigEndian(body), BinaryPrimitives.ReadInt32BigEndian(body[4..]));
            else if (type == "IDAT")
                data.Write(body);
            at += 12 + length;
        }
        data.Position = 0;
        using var zlib = new ZLibStream(data, CompressionMode.Decompress);
        var pixels = new byte[width * height * 3];
        var line = new byte[1 + width * 3];
        for (var row = 0; row < height; row++)
        {
            zlib.ReadExactly(line);
            Assert.Equal(2, line[0]);
            for (var i = 0; i < width * 3; i++)
                pixels[row * width * 3 + i] = (byte)(line[1 + i] + (row == 0 ? 0 : pixels[(row - 1) * width * 3 + i]));
        }
        Assert.Equal(-1, zlib.ReadByte());
        return (width, height, pixels);
    }
}

internal static class Some
{
    /// <summary>The log of a run whose loss falls from about 9 to 2 with noise.</summary>
    public static IEnumerable<MetricSet> Run(int points, bool held, int seed = 1)
    {
        var random = new Random(seed);
        for (var step = 1; step <= points; step++)
        {
            var loss = 2 + 7 * Math.Exp(-6.0 * step / points) + 0.3 * (random.NextDouble() + random.NextDouble() - 1);
            var entry = new MetricSet { ["step"] = step, ["loss"] = loss };
            if (held && step % Math.Max(1, points / 8) == 0)
                entry["eval_loss"] = 2.15 + 7 * Math.Exp(-6.0 * step / points);
            yield return entry;
        }
    }
}
