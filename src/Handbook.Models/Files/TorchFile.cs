using System.Globalization;
using Handbook.Base;
using Handbook.Torch;

namespace Handbook.Models.Files;

/// <summary>A file of <c>torch.save</c>: a zip of one pickle and the raw storages, or the older format of pickles in a row.</summary>
/// <remarks>
/// Names are the keys of the state dictionary, joined by dots. Where the file wraps it, as training checkpoints do
/// (<c>state_dict</c>, <c>model_state_dict</c>, <c>model_state</c>, <c>model</c>, <c>module</c>), the wrapped one is taken.
/// </remarks>
internal sealed unsafe class TorchFile : ITensorFile
{
    internal const int DeepestNesting = 32;

    private readonly MappedFile _file;
    private readonly TorchStorages _storages;
    private readonly Dictionary<string, PickledTensor> _tensors = [];
    private readonly Dictionary<string, object?> _values = [];
    private readonly Dictionary<string, NativeBuffer> _gathered = [];
    private readonly List<string> _names = [];
    private readonly HashSet<object> _seen = [];

    private TorchFile(MappedFile file)
    {
        _file = file;
        (var root, _storages) = ZipEntries.IsZip(file) ? TorchStorages.OpenZip(file) : TorchStorages.OpenLegacy(file);
        foreach (var key in (string[])["state_dict", "model_state_dict", "model_state", "model", "module"])
            if (root is PickledDict outer && !outer.Items.Any(i => i.Value is PickledTensor) && outer[key] is PickledDict inner
                && inner.Items.Any(i => i.Value is PickledTensor))
            {
                outer.Items.RemoveAll(i => i.Value == inner);
                Collect(outer, "", 0, tensorsToo: false);
                root = inner;
            }
        Collect(root, "", 0, tensorsToo: true);
    }

    /// <exception cref="InputException">The file is missing, broken, big-endian, or asks for anything beyond tensors and
    /// plain containers.</exception>
    public static TorchFile Open(string path) => MappedFile.Open(path, file => new TorchFile(file));

    public string Path => _file.Path;

    public IReadOnlyList<string> Names => _names;

    public IReadOnlyDictionary<string, string> Metadata { get; } = new Dictionary<string, string>();

    /// <summary>What the file holds beside tensors, by dotted path: whole numbers (long), numbers (double), truth values, texts.</summary>
    public IReadOnlyDictionary<string, object?> Values => _values;

    public TensorInfo Info(string name)
    {
        var tensor = Find(name);
        var type = tensor.TypeName ?? tensor.Storage.TypeName;
        return new(name, ToDType(type)
            ?? throw new InputException($"{Path}: tensor \"{name}\" has element type {type}, which cannot be computed with here",
            fix: "save the model in float32, bfloat16 or float16"), [.. tensor.Shape]);
    }

    public TensorData Read(string name)
    {
        var tensor = Find(name);
        var info = Info(name);
        var elements = Elements(name, tensor, info);
        var (pointer, length, owner) = _storages.Open(tensor.Storage.Key, name);
        var available = length / info.DType.Size;
        if (tensor.Storage.TypeName != "UntypedStorage")
            available = Math.Min(available, tensor.Storage.Count);
        if (elements > available)
            throw Broken($"tensor \"{name}\" reaches to element {elements} of storage {tensor.Storage.Key}, which has {available}");
        pointer = (nint)(pointer + tensor.Offset * info.DType.Size);
        if (info.Count == 0 || IsContiguous(tensor))
            return new(info, pointer, owner);
        if (!_gathered.TryGetValue(name, out var gathered))
            _gathered[name] = gathered = Gather((byte*)pointer, tensor, info);
        return new(info, gathered.DangerousGetHandle(), gathered);
    }

    public void ForgetPages() => _file.ForgetPages();

    public void Dispose()
    {
        foreach (var buffer in _gathered.Values)
            buffer.Dispose();
        _storages.Dispose();
        _file.Dispose();
    }

    private void Collect(object? item, string path, int depth, bool tensorsToo)
    {
        if (depth > DeepestNesting)
            throw Broken($"nests containers deeper than {DeepestNesting} at {path}");
        switch (item)
        {
            case PickledTensor tensor when tensorsToo:
                if (_tensors.TryAdd(path, tensor))
                    _names.Add(path);
                else
                    _tensors[path] = tensor;
                break;
            // A container that appears again, be it inside itself, has been read.
            case PickledDict or IReadOnlyList<object?> when !_seen.Add(item):
                break;
            case PickledDict dict:
                foreach (var (key, value) in dict.Items)
                    Collect(value, Join(path, Convert.ToString(key, CultureInfo.InvariantCulture) ?? ""), depth + 1, tensorsToo);
                break;
            case IReadOnlyList<object?> list:
                for (var i = 0; i < list.Count; i++)
                    Collect(list[i], Join(path, i.ToString(CultureInfo.InvariantCulture)), depth + 1, tensorsToo);
                break;
            case string or long or double or bool:
                _values[path] = item;
                break;
        }
    }

    private static string Join(string path, string key) => path.Length == 0 ? key : $"{path}.{key}";

    /// <summary>How far into the storage the tensor reaches, in elements.</summary>
    private long Elements(string name, PickledTensor tensor, TensorInfo info)
    {
        if (tensor.Shape.Length != tensor.Strides.Length)
            throw Broken($"tensor \"{name}\" has {tensor.Shape.Length} dimensions but {tensor.Strides.Length} strides");
        Int128 reach = tensor.Offset + (Int128)1, count = 1;
        for (var i = 0; i < tensor.Shape.Length; i++)
        {
            reach += (Int128)(tensor.Shape[i] - 1) * tensor.Strides[i];
            count *= tensor.Shape[i];
            if (count > long.MaxValue / 8 || reach > long.MaxValue)
                throw Broken($"tensor \"{name}\" of shape {info.Shape} is too large");
        }
        return count == 0 ? 0 : tensor.Offset < 0 ? throw Broken($"tensor \"{name}\" begins at {tensor.Offset}") : (long)reach;
    }

    private static bool IsContiguous(PickledTensor tensor)
    {
        var expected = 1L;
        for (var i = tensor.Shape.Length - 1; i >= 0; i--)
        {
            if (tensor.Shape[i] != 1 && tensor.Strides[i] != expected)
                return false;
            expected *= tensor.Shape[i];
        }
        return true;
    }

    /// <summary>Copies a transposed or otherwise strided tensor into row-major order.</summary>
    private NativeBuffer Gather(byte* source, PickledTensor tensor, TensorInfo info)
    {
        // A stride of 0 repeats elements: the file may be small and the tensor still huge.
        if (info.ByteCount > Math.Max(_file.Length, 1) * 4 && info.ByteCount > 1 << 30)
            throw Broken($"tensor \"{info.Name}\" of shape {info.Shape} is larger than the file that holds it");
        var buffer = new NativeBuffer(info.ByteCount);
        var size = info.DType.Size;
        var index = new long[tensor.Shape.Length];
        var target = buffer.Pointer;
        var at = 0L;
        for (var n = info.Count; n > 0; n--)
        {
            Buffer.MemoryCopy(source + at * size, target, size, size);
            target += size;
            for (var d = index.Length - 1; d >= 0; d--)
            {
                at += tensor.Strides[d];
                if (++index[d] < tensor.Shape[d])
                    break;
                at -= index[d] * tensor.Strides[d];
                index[d] = 0;
            }
        }
        return buffer;
    }

    private static DType? ToDType(string type) => type switch
    {
        "FloatStorage" or "float32" => DType.Float32,
        "DoubleStorage" or "float64" => DType.Float64,
        "HalfStorage" or "float16" => DType.Float16,
        "BFloat16Storage" or "bfloat16" => DType.BFloat16,
        "LongStorage" or "int64" => DType.Int64,
        "IntStorage" or "int32" => DType.Int32,
        "ShortStorage" or "int16" => DType.Int16,
        "CharStorage" or "int8" => DType.Int8,
        "ByteStorage" or "uint8" => DType.UInt8,
        "BoolStorage" or "bool" => DType.Bool,
        "float8_e4m3fn" => DType.Float8E4M3,
        "float8_e5m2" => DType.Float8E5M2,
        _ => null,
    };

    private PickledTensor Find(string name) => _tensors.TryGetValue(name, out var tensor)
        ? tensor
        : throw new InputException($"{Path}: has no tensor \"{name}\"");

    private InputException Broken(string what) => PickleReader.Broken(Path, what);
}
