using System.Security.Cryptography;
using Handbook.Testing;
using Handbook.Training.Events;
using Handbook.Training.Reports;

namespace Handbook.Training.Tests.Reports;

public sealed class WandbFileTests : IDisposable
{
    private static readonly int[] s_lengths = [1, 20, 32690, 40, 7, 100, 32746, 32747, 32748, 32754, 3, 70000, 200000, 11];

    private readonly TemporaryFolder _folder = new();

    [Fact] // the hash is that of a file which the Python client's own writer (wandb/sdk/internal/datastore.py, August 2026) made of these
    // records
    public void A_file_has_the_bytes_that_the_clients_own_writer_gives()
    {
        var file = Written(s_lengths);
        Assert.Equal("a29360d30c7fee167c62eeaac53f65e3e29331afc0adbed39a434f1dd7232bd6",
            Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(file))));
        Assert.Equal("3a572642e1be00", Convert.ToHexStringLower(File.ReadAllBytes(file)[..7]));
    }

    [Theory, MemberData(nameof(Seeds))]
    public void What_is_written_is_read_back(int seed)
    {
        var random = new Random(seed);
        var lengths = Enumerable.Range(0, 40).Select(_ => random.Next(4) == 0 ? random.Next(32720, 32780) : random.Next(0, 9000)).ToArray();
        var read = WandbFile.Read(Written(lengths)).ToArray();
        Assert.Equal(lengths, read.Select(record => record.Length));
        Assert.All(read.Index(), record => Assert.Equal(Content(record.Index, record.Item.Length), record.Item));
    }

    public static TheoryData<int> Seeds() => [.. Enumerable.Range(0, 20)];

    [Fact]
    public void A_file_that_is_cut_anywhere_gives_its_whole_records()
    {
        var file = Written(s_lengths[..5]);
        var bytes = File.ReadAllBytes(file);
        var before = -1;
        foreach (var length in Enumerable.Range(0, 60).Concat(Enumerable.Range(0, 50).Select(i => bytes.Length - 50 + i)))
        {
            File.WriteAllBytes(file, bytes[..length]);
            var read = WandbFile.Read(file).ToArray();
            Assert.All(read.Index(), record => Assert.Equal(Content(record.Index, s_lengths[record.Index]), record.Item));
            Assert.True(read.Length >= before && read.Length < 5);
            before = read.Length;
        }
    }

    [Fact]
    public void A_damaged_record_ends_what_is_read()
    {
        var file = Written([10, 20, 30]);
        var bytes = File.ReadAllBytes(file);
        bytes[7 + 7 + 10 + 7 + 5] ^= 1;
        File.WriteAllBytes(file, bytes);
        Assert.Equal([10], WandbFile.Read(file).Select(record => record.Length));
        File.WriteAllText(file, "no such file at all");
        Assert.Empty(WandbFile.Read(file));
    }

    [Fact]
    public void A_file_goes_on_after_the_records_that_are_kept()
    {
        var file = Written(s_lengths);
        var all = WandbFile.Read(file).ToArray();
        using (var again = WandbFile.GoOn(file, all[..7]))
            foreach (var record in all[7..])
                again.Write(record);
        Assert.Equal(all, WandbFile.Read(file));
        Assert.Equal(File.ReadAllBytes(Written(s_lengths)), File.ReadAllBytes(file));
    }

    [Fact]
    public void Fields_of_a_message_are_read_and_a_damaged_one_is_refused()
    {
        var message = new ProtoMessage().Integer(1, 300).Text(16, "ab").Double(3, 1.5).Single(4, 2.5f).ToArray();
        var fields = ProtoFields.Of(message);
        Assert.Equal([1, 16, 3, 4], fields.Select(field => field.Field));
        Assert.Equal(300UL, fields[0].Number);
        Assert.Equal("ab"u8.ToArray(), fields[1].Bytes);
        for (var length = 1; length < message.Length; length++)
            if (length is not (3 or 8 or 17))       // the ends of fields
                Assert.Throws<FormatException>(() => ProtoFields.Of(message.AsSpan(0, length)));
    }

    public void Dispose() => _folder.Dispose();

    private string Written(int[] lengths)
    {
        var path = _folder[$"{Guid.NewGuid():N}.wandb"];
        using var file = WandbFile.Create(path);
        foreach (var (i, length) in lengths.Index())
            file.Write(Content(i, length));
        return path;
    }

    private static byte[] Content(int index, int length) => [.. Enumerable.Range(0, length).Select(j => (byte)((index * 31 + j) % 251))];
}
