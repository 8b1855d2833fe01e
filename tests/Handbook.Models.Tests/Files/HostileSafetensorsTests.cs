using System.Buffers.Binary;
using System.Text;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Testing;

namespace Handbook.Models.Tests.Files;

/// <summary>Headers that lie, overlap, overflow or break off: each is refused with the file and what is wrong in it.</summary>
public sealed class HostileSafetensorsTests
{
    /// <summary>Stands for @A in the headers below.</summary>
    private const string A = """ "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]} """;

    public static TheoryData<string, string, int, string> Headers() => new()
    {
        { "overlap", """{@A, "b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12,
            "tensor \"b\" begins at 4, inside the one before it, which ends at 8" },
        { "same place twice", """{@A, "b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "inside the one before it" },
        { "gap", """{@A, "b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}""", 16, "leaving 4 bytes after the one before it" },
        { "gap at the start", """{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "tensor \"a\" begins at 4" },
        { "beyond the end", """{@A}""", 4, "tensor \"a\" ends at 8, but the file has 4 bytes of data" },
        { "bytes left over", """{@A}""", 9, "has 1 bytes after its last tensor" },
        { "end before begin", """{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}""", 8,
            "tensor \"a\" ends at 4, before it begins at 8" },
        { "size and shape differ", """{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8,
            "needs 12 bytes, but its data_offsets span 8" },
        { "size and type differ", """{"a":{"dtype":"F64","shape":[2],"data_offsets":[0,8]}}""", 8, "needs 16 bytes" },
        { "negative size", """{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", 8, "not a whole number of at least 0: -2" },
        { "negative offset", """{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}""", 8,
            "data_offsets with an entry that is not a whole number" },
        { "fraction", """{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}""", 8, "2.5" },
        { "product overflows", """{"a":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}}""", 8, "is too large" },
        { "product wraps to zero", """{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}""", 0, "is too large" },
        { "number beyond 64 bits", """{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}}""", 8,
            "99999999999999999999" },
        { "unknown type", """{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}""", 8, "unknown element type \"F99\"" },
        { "no type", """{"a":{"shape":[2],"data_offsets":[0,8]}}""", 8, "lacks dtype" },
        { "three offsets", """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}}""", 8, "has 3 data_offsets instead of 2" },
        { "unknown key", """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}""", 8, "misshapen key \"x\"" },
        { "key twice", """{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "key \"dtype\"" },
        { "tensor twice", """{@A, @A}""", 8, "has tensor \"a\" twice" },
        { "tensor is a number", """{"a":3}""", 0, "no object for tensor \"a\"" },
        { "shape is a text", """{"a":{"dtype":"F32","shape":"2","data_offsets":[0,8]}}""", 8, "a shape that is not a list" },
        { "metadata is not text", """{"__metadata__":{"format":1}, @A}""", 8, "not a text for \"format\"" },
        { "metadata twice", """{"__metadata__":{}, "__metadata__":{}, @A}""", 8, "twice" },
        { "a list", "[1]", 0, "does not begin with {" },
        { "spaces first", " {}", 0, "does not begin with {" },
        { "broken off", """{"a":{"dtype":"F32",""", 0, "not valid JSON" },
        { "two objects", "{}{}", 0, "not valid JSON" },
        { "deep nesting", """{"a":{"dtype":[[[[[[[[[[[[1]]]]]]]]]]]]}}""", 0, "misshapen key \"dtype\"" },
        { "half a byte", """{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}""", 1, "not of whole bytes" },
    };

    [Theory, MemberData(nameof(Headers))]
    public void A_header_that_breaks_the_rules_is_refused(string what, string header, int dataLength, string message)
    {
        _ = what;
        var error = Refused(File(Header(header), dataLength));
        Assert.Contains(message, error);
    }

    [Theory]
    [InlineData(0, "has 0 bytes")]
    [InlineData(7, "has 7 bytes")]
    [InlineData(20, "states a header of")]
    public void A_file_that_breaks_off_is_refused(int length, string message) =>
        Assert.Contains(message, Refused(File(Header("{@A}"), 8)[..length]));

    [Fact]
    public void A_huge_header_is_refused_before_it_is_read()
    {
        var bytes = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, ulong.MaxValue);
        Assert.Contains("more than the format's 100000000", Refused(bytes));
    }

    [Fact]
    public void A_name_that_is_not_utf8_is_refused() =>
        Assert.Contains("not UTF-8", Refused(File([.. "{\""u8, 0xff, .. "\":3}"u8], 0)));

    [Fact]
    public void A_type_we_cannot_compute_with_is_refused_only_when_it_is_asked_for()
    {
        using var folder = new TemporaryFolder();
        System.IO.File.WriteAllBytes(folder["x.safetensors"],
            File("""{"a":{"dtype":"U16","shape":[1],"data_offsets":[0,2]},"b":{"dtype":"F16","shape":[1],"data_offsets":[2,4]}}"""u8, 4));
        using var file = SafetensorsFile.Open(folder["x.safetensors"]);

        Assert.Equal([1], file.Info("b").Shape);
        Assert.Contains("tensor \"a\" has element type U16", Assert.Throws<InputException>(() => file.Info("a")).Message);
    }

    [Fact]
    public void An_empty_file_a_scalar_and_an_empty_tensor_are_fine()
    {
        using var folder = new TemporaryFolder();
        System.IO.File.WriteAllBytes(folder["x.safetensors"],
            File("""{"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[0,5],"data_offsets":[8,8]}}   """u8,
            8));
        using var file = SafetensorsFile.Open(folder["x.safetensors"]);
        Assert.Equal(8, file.Read("a").Bytes.Length);
        Assert.Equal(0, file.Read("b").Bytes.Length);

        System.IO.File.WriteAllBytes(folder["y.safetensors"], File("{}"u8, 0));
        using var empty = SafetensorsFile.Open(folder["y.safetensors"]);
        Assert.Empty(empty.Names);
    }

    [Fact]
    public void Flipped_bytes_never_give_anything_but_a_refusal_or_tensors_inside_the_file()
    {
        using var folder = new TemporaryFolder();
        var good = File(Header("""{"__metadata__":{"format":"pt"},@A,"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]}}"""), 20);
        var random = new Random(7);
        var opened = 0;
        for (var round = 0; round < 1000; round++)
        {
            var bytes = (byte[])good.Clone();
            for (var flips = random.Next(1, 4); flips > 0; flips--)
                bytes[random.Next(good.Length - 20)] = (byte)random.Next(256);
            opened += OpensOrIsRefused(folder, "x.safetensors", random.Next(8) == 0 ? bytes[..random.Next(bytes.Length)] : bytes) ? 1 : 0;
        }
        Assert.InRange(opened, 1, 999); // some flips only rename a tensor
    }

    /// <summary>Opens a checkpoint and touches every byte; anything thrown but an <see cref="InputException"/> fails the test.</summary>
    internal static bool OpensOrIsRefused(TemporaryFolder folder, string name, byte[] bytes)
    {
        System.IO.File.WriteAllBytes(folder[name], bytes);
        try
        {
            using var files = WeightFiles.Open(folder[name]);
            foreach (var tensor in files.Names)
            {
                var sum = 0;
                foreach (var value in files.Bytes(tensor))
                    sum += value;
            }
            return true;
        }
        catch (InputException e)
        {
            Assert.Contains(name, e.Message);
            return false;
        }
    }

    private static string Refused(byte[] bytes)
    {
        using var folder = new TemporaryFolder();
        System.IO.File.WriteAllBytes(folder["model.safetensors"], bytes);
        var error = Assert.Throws<InputException>(() => SafetensorsFile.Open(folder["model.safetensors"]));
        Assert.Contains(folder["model.safetensors"], error.Message);
        return error.Message;
    }

    private static byte[] Header(string json) => Encoding.UTF8.GetBytes(json.Replace("@A", A));

    private static byte[] File(ReadOnlySpan<byte> header, int dataLength)
    {
        var bytes = new byte[8 + header.Length + dataLength];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, header.Length);
        header.CopyTo(bytes.AsSpan(8));
        return bytes;
    }
}
