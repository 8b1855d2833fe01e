using System.IO.Compression;
using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Testing;

namespace Handbook.Models.Tests.Files;

/// <summary>PyTorch files made by hand: what a safe reader reads, and what it refuses by name.</summary>
public sealed class TorchFileTests
{
    private static readonly float[] _numbers = [0, 1, 2, 3, 4, 5, 6, 7];

    private static byte[] Bytes => MemoryMarshal.AsBytes(_numbers.AsSpan()).ToArray();

    [Theory]
    [InlineData(CompressionLevel.NoCompression)]
    [InlineData(CompressionLevel.Optimal)]
    public void A_tensor_is_a_view_into_its_storage(CompressionLevel level)
    {
        Assert.Equal([2, 3, 4, 5], Read(PickleBytes.Zip(PickleBytes.OneTensor(8, 2, [2, 2], [2, 1]), Bytes, level: level)));
    }

    [Fact]
    public void Strides_are_followed()
    {
        // Element (i, j) of the transposed view stands at 1 + i + 3j.
        Assert.Equal([1, 4, 2, 5, 3, 6], Read(PickleBytes.Zip(PickleBytes.OneTensor(8, 1, [3, 2], [1, 3]), Bytes)));
        Assert.Equal([5, 5, 5], Read(PickleBytes.Zip(PickleBytes.OneTensor(8, 5, [3], [0]), Bytes)));
    }

    [Fact]
    public void The_format_before_the_zip_is_read()
    {
        var pickle = new PickleBytes().Code("}").Text("w").Tensor("0", 8, 6, [2], [1], legacy: true).Code("s").Done();
        Assert.Equal([6, 7], Read(PickleBytes.Legacy(pickle, _numbers)));
    }

    [Fact]
    public void Values_beside_the_tensors_are_read_by_path()
    {
        var pickle = new PickleBytes().Code("}(").Text("step").Number(7).Text("name").Text("α").Text("lr").Raw((byte)'G', 0x3f, 0xf8, 0, 0,
            0, 0, 0, 0)
            .Text("betas").Code("(").Number(-1).Code("\x88t").Text("w").Tensor("0", 8, 0, [1], [1]).Code("u").Done();
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["x.pt"], PickleBytes.Zip(pickle, Bytes));
        using var file = TorchFile.Open(folder["x.pt"]);

        Assert.Equal(7L, file.Values["step"]);
        Assert.Equal("α", file.Values["name"]);
        Assert.Equal(1.5, file.Values["lr"]);
        Assert.Equal(-1L, file.Values["betas.0"]);
        Assert.Equal(true, file.Values["betas.1"]);
        Assert.Equal(["w"], file.Names);
    }

    public static TheoryData<string, byte[], string> Refusals()
    {
        byte[] Call(string module, string name) => new PickleBytes().Global(module, name).Text("touch /tmp/x").Raw(0x85).Code("R").Done();
        var data = new TheoryData<string, byte[], string>
        {
            { "a command", PickleBytes.Zip(Call("os", "system")), "asks to import and call os.system" },
            { "posix", PickleBytes.Zip(Call("posix", "system")), "posix.system" },
            { "eval", PickleBytes.Zip(Call("builtins", "eval")), "builtins.eval" },
            { "getattr", PickleBytes.Zip(Call("__builtin__", "getattr")), "__builtin__.getattr" },
            { "nested load", PickleBytes.Zip(Call("torch", "load")), "torch.load" },
            { "by stack",
                PickleBytes.Zip(new PickleBytes().Text("subprocess").Text("Popen").Raw(0x93).Text("ls").Raw(0x85).Code("R").Done()),
                "subprocess.Popen" },
            { "an object", PickleBytes.Zip(new PickleBytes().Global("argparse", "Namespace").Code(")").Raw(0x81).Done()),
                "make an object of argparse.Namespace" },
            { "an instance", PickleBytes.Zip(new PickleBytes().Code("(ios\nsystem\n").Done()), "instruction 0x69" },
            { "strange storage", PickleBytes.Zip(PickleBytes.OneTensor(8, 0, [1], [1], "QuantumStorage")),
                "storage of type torch.QuantumStorage" },
            { "wrong arguments", PickleBytes.Zip(new PickleBytes().Global("torch._utils", "_rebuild_tensor_v2").Code(")R").Done()),
                "arguments that do not fit" },
            { "beyond the storage", PickleBytes.Zip(PickleBytes.OneTensor(8, 7, [2], [1]), Bytes), "tensor \"w\" reaches to element 9" },
            { "storage shorter than stated", PickleBytes.Zip(PickleBytes.OneTensor(100, 0, [9], [1]), Bytes), "which has 8" },
            { "huge stride", PickleBytes.Zip(PickleBytes.OneTensor(8, 0, [2, 2], [long.MaxValue, long.MaxValue]), Bytes), "too large" },
            { "huge shape", PickleBytes.Zip(PickleBytes.OneTensor(8, 0, [1L << 40, 1L << 40], [0, 0]), Bytes), "too large" },
            { "billions of copies of one element", PickleBytes.Zip(PickleBytes.OneTensor(8, 0, [1L << 40], [0]), Bytes),
                "larger than the file" },
            { "negative size", PickleBytes.Zip(PickleBytes.OneTensor(8, 0, [-1], [1]), Bytes), "whole numbers of at least 0" },
            { "negative offset", PickleBytes.Zip(PickleBytes.OneTensor(8, -1, [1], [1]), Bytes), "begins at -1" },
            { "fewer strides", PickleBytes.Zip(PickleBytes.OneTensor(8, 0, [2, 2], [1]), Bytes), "2 dimensions but 1 strides" },
            { "missing storage", PickleBytes.Zip(PickleBytes.OneTensor(8, 0, [1], [1], key: "9"), Bytes),
                "lacks storage 9 of tensor \"w\"" },
            { "path as a storage", PickleBytes.Zip(PickleBytes.OneTensor(8, 0, [1], [1], key: "../../etc/passwd"), Bytes),
                "lacks storage" },
            { "big endian", PickleBytes.Zip(PickleBytes.OneTensor(8, 0, [1], [1]), Bytes, "big"), "big-endian" },
            { "big endian, old format", PickleBytes.Legacy(PickleBytes.OneTensor(8, 0, [1], [1]), _numbers, littleEndian: false),
                "big-endian" },
            { "broken off", PickleBytes.Zip(PickleBytes.OneTensor(8, 0, [1], [1])[..40]), "ends in the middle of its pickle" },
            { "empty stack", PickleBytes.Zip(new PickleBytes().Code("0").Done()), "empty stack" },
            { "unknown memo", PickleBytes.Zip(new PickleBytes().Code("h\x05").Done()), "refers to item 5" },
            { "no mark", PickleBytes.Zip(new PickleBytes().Code("t").Done()), "a list that was not begun" },
            { "protocol 9", PickleBytes.Zip([0x80, 9, (byte)'N', (byte)'.']), "protocol 9" },
            { "text of 4 GB", PickleBytes.Zip(new PickleBytes().Raw((byte)'X', 0xff, 0xff, 0xff, 0xff).Done()), "4294967295 bytes" },
            { "nested a million deep",
                PickleBytes.Zip(new PickleBytes().Code(new string(']', 1_000_000) + new string('a', 999_999)).Done()),
                "nests containers deeper" },
            { "not a pickle", "hello, world"u8.ToArray(), "neither a zip nor a pickle" },
            { "another pickle", new PickleBytes().Code("}").Done(), "not one that torch.save wrote" },
            { "empty", [], "is empty" },
            { "zip broken off", PickleBytes.Zip(PickleBytes.OneTensor(8, 0, [1], [1]), Bytes)[..^30], "no zip directory" },
        };
        return data;
    }

    [Theory, MemberData(nameof(Refusals))]
    public void A_file_that_is_more_or_less_than_tensors_is_refused(string what, byte[] bytes, string message)
    {
        _ = what;
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["pytorch_model.bin"], bytes);
        var error = Assert.Throws<InputException>(() =>
        {
            using var file = TorchFile.Open(folder["pytorch_model.bin"]);
            foreach (var name in file.Names)
                file.Read(name);
        });
        Assert.Contains("pytorch_model.bin", error.Message);
        Assert.Contains(message, error.Message);
    }

    [Fact]
    public void A_list_that_holds_itself_is_read_once()
    {
        var pickle = new PickleBytes().Code("}").Raw((byte)'q', 0).Text("self").Raw((byte)'h', 0).Code("s").Text("w").Tensor("0", 8, 3, [1],
            [1]).Code("s").Done();
        Assert.Equal([3], Read(PickleBytes.Zip(pickle, Bytes)));
    }

    [Fact]
    public void Flipped_bytes_never_give_anything_but_a_refusal_or_tensors_inside_the_file()
    {
        using var folder = new TemporaryFolder();
        byte[][] good =
        [
            PickleBytes.Zip(PickleBytes.OneTensor(8, 2, [2, 2], [2, 1]), Bytes),
            PickleBytes.Zip(PickleBytes.OneTensor(8, 2, [2, 2], [1, 2]), Bytes, level: CompressionLevel.Optimal),
            PickleBytes.Legacy(new PickleBytes().Code("}").Text("w").Tensor("0", 8, 6, [2], [1], legacy: true).Code("s").Done(), _numbers),
        ];
        var random = new Random(11);
        var opened = 0;
        for (var round = 0; round < 1000; round++)
        {
            var bytes = (byte[])good[round % good.Length].Clone();
            for (var flips = random.Next(1, 4); flips > 0; flips--)
                bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            opened += HostileSafetensorsTests.OpensOrIsRefused(folder, "x.bin", bytes) ? 1 : 0;
        }
        Assert.InRange(opened, 1, 999); // some flips only change a number
    }

    private static float[] Read(byte[] bytes)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["x.bin"], bytes);
        using var files = WeightFiles.Open(folder.Path);
        return MemoryMarshal.Cast<byte, float>(files.Bytes("w")).ToArray();
    }
}
