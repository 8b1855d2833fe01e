using System.Numerics;
using System.Runtime.InteropServices;
using System.Text;

namespace Handbook.Models.Files;

/// <summary>Where the raw storages of a <c>torch.save</c> file lie.</summary>
internal sealed unsafe class TorchStorages : IDisposable
{
    // The three numbers an old-format file begins with: magic, protocol, and a dictionary about the machine.
    private static readonly BigInteger _magic = BigInteger.Parse("119547037146038801333356");
    private const long LegacyProtocol = 1001;

    private readonly MappedFile _file;
    private readonly Dictionary<string, (long Offset, long Length)> _inPlace = [];
    private readonly Dictionary<string, NativeBuffer> _unpacked = [];
    private ZipEntries? _zip;
    private string _folder = "";

    private TorchStorages(MappedFile file) => _file = file;

    public static (object? Root, TorchStorages Storages) OpenZip(MappedFile file)
    {
        var zip = ZipEntries.Read(file);
        var pickles = zip.Entries.Keys.Where(n => n.EndsWith("/data.pkl") || n == "data.pkl").ToArray();
        if (pickles is not [var pickle])
            throw PickleReader.Broken(file.Path, zip.Entries.Keys.Any(n => n.EndsWith("/constants.pkl"))
                ? "is a TorchScript program, not a checkpoint" : "is a zip file without exactly one data.pkl, so not a PyTorch checkpoint");
        var storages = new TorchStorages(file) { _zip = zip, _folder = pickle[..^"data.pkl".Length] };
        try
        {
            if (zip.Entries.TryGetValue(storages._folder + "byteorder", out var order))
            {
                var text = Encoding.ASCII.GetString(storages.Member(order));
                if (text != "little")
                    throw PickleReader.Broken(file.Path,
                        $"was written by a machine with {text}-endian numbers; only little-endian is read");
            }
            if (zip.Entries.ContainsKey(storages._folder + "constants.pkl"))
                throw PickleReader.Broken(file.Path, "is a TorchScript program, not a checkpoint");
            return (new Unpickler(file.Path).Read(storages.Member(zip.Entries[pickle]), out _), storages);
        }
        catch
        {
            storages.Dispose();
            throw;
        }
    }

    /// <summary>The format before PyTorch 1.6: magic, protocol, machine, object, list of storage keys, then the storages,
    /// each behind its count.</summary>
    public static (object? Root, TorchStorages Storages) OpenLegacy(MappedFile file)
    {
        var rest = file.Slice(0, Math.Min(file.Length, int.MaxValue));
        if (rest.Length == 0)
            throw PickleReader.Broken(file.Path, "is empty");
        var unpickler = new Unpickler(file.Path);
        if (rest[0] != 0x80)
            throw PickleReader.Broken(file.Path, "is neither a zip nor a pickle, so not a PyTorch checkpoint");
        if (Next(unpickler, ref rest) is not BigInteger magic || magic != _magic)
            throw PickleReader.Broken(file.Path, "is a pickle, but not one that torch.save wrote");
        if (Next(unpickler, ref rest) is not LegacyProtocol)
            throw PickleReader.Broken(file.Path, "is a torch.save file of an unknown version");
        if (Next(unpickler, ref rest) is not PickledDict machine || machine["little_endian"] is not true)
            throw PickleReader.Broken(file.Path, "was written by a machine with big-endian numbers; only little-endian is read");
        var seen = new Dictionary<string, PickledStorage>();
        var root = Next(unpickler, ref rest);
        FindStorages(root, seen, []);
        if (Next(unpickler, ref rest) is not List<object?> keys)
            throw PickleReader.Broken(file.Path, "has no list of storages behind its pickle");
        var storages = new TorchStorages(file);
        var at = Math.Min(file.Length, int.MaxValue) - rest.Length;
        foreach (var item in keys)
        {
            if (item is not string key || !seen.TryGetValue(key, out var storage))
                throw PickleReader.Broken(file.Path, $"lists a storage \"{item}\" that no tensor uses");
            if (at > file.Length - 8)
                throw PickleReader.Broken(file.Path, $"ends before its storage {key}");
            var count = *(long*)(file.Pointer + at);
            var size = ElementSize(storage.TypeName);
            if (count < 0 || count > (file.Length - at - 8) / size)
                throw PickleReader.Broken(file.Path, $"ends inside its storage {key} of {count} elements");
            storages._inPlace[key] = (at + 8, count * size);
            at += 8 + count * size;
        }
        return (root, storages);
    }

    /// <summary>A storage's bytes and what keeps them alive.</summary>
    public (nint Pointer, long Length, SafeHandle Owner) Open(string key, string tensor)
    {
        if (_inPlace.TryGetValue(key, out var place))
            return ((nint)(_file.Pointer + place.Offset), place.Length, _file.Handle!);
        if (_zip is null || !_zip.Entries.TryGetValue($"{_folder}data/{key}", out var entry))
            throw PickleReader.Broken(_file.Path, $"lacks storage {key} of tensor \"{tensor}\"");
        if (_unpacked.TryGetValue(key, out var buffer))
            return (buffer.DangerousGetHandle(), buffer.Size, buffer);
        var pointer = _zip.Open(entry, out var unpacked);
        if (unpacked is null)
            return ((nint)pointer, entry.Size, _file.Handle!);
        _unpacked[key] = unpacked;
        return ((nint)pointer, entry.Size, unpacked);
    }

    public void Dispose()
    {
        foreach (var buffer in _unpacked.Values)
            buffer.Dispose();
    }

    private byte[] Member(ZipEntry entry)
    {
        if (entry.Size > int.MaxValue)
            throw PickleReader.Broken(_file.Path, $"has a member \"{entry.Name}\" of {entry.Size} bytes");
        var pointer = _zip!.Open(entry, out var unpacked);
        using (unpacked)
            return new ReadOnlySpan<byte>(pointer, (int)entry.Size).ToArray();
    }

    private static object? Next(Unpickler unpickler, ref ReadOnlySpan<byte> rest)
    {
        var item = unpickler.Read(rest, out var length);
        rest = rest[length..];
        return item;
    }

    private static void FindStorages(object? item, Dictionary<string, PickledStorage> found, HashSet<object> visited, int depth = 0)
    {
        if (depth > TorchFile.DeepestNesting)
            return; // Collecting the tensors refuses such a file with a message.
        if (item is PickledTensor tensor)
            found[tensor.Storage.Key] = tensor.Storage;
        else if (item is PickledDict dict && visited.Add(dict))
            foreach (var (_, value) in dict.Items)
                FindStorages(value, found, visited, depth + 1);
        else if (item is IReadOnlyList<object?> list && visited.Add(list))
            foreach (var value in list)
                FindStorages(value, found, visited, depth + 1);
    }

    private static int ElementSize(string storageType) => storageType switch
    {
        "DoubleStorage" or "LongStorage" => 8,
        "FloatStorage" or "IntStorage" => 4,
        "HalfStorage" or "BFloat16Storage" or "ShortStorage" => 2,
        _ => 1,
    };
}
