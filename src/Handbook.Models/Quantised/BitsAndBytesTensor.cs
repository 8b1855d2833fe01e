using System.Text.Json;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Torch;
using Handbook.Torch.Kernels;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Quantised;

/// <summary>A matrix as bitsandbytes stores it; see <see cref="BitsAndBytesLayout"/> for the names.</summary>
internal sealed unsafe class BitsAndBytesTensor : QuantisedTensor
{
    private readonly WeightFiles _files;
    private readonly string _prefix;
    private readonly QuantisedFormat _format;
    private readonly int _blockSize;
    private readonly float _offset;

    private BitsAndBytesTensor(WeightFiles files, string prefix, QuantisedFormat format, long rows, long columns, DType type,
        int blockSize, float offset) : base(prefix + ".weight", rows, columns, type) =>
        (_files, _prefix, _format, _blockSize, _offset) = (files, prefix, format, blockSize, offset);

    public override IEnumerable<string> Names => BitsAndBytesLayout.Endings
        .Select(ending => _prefix + ending).Where(_files.Has);

    public override string Kind => $"bitsandbytes, {(_format.Kind == QuantisedKind.Int8 ? "8-bit" : $"4-bit {_format}")}";

    public override QuantisedFormat? Format => _format;

    /// <summary>A layer with the state that 4-bit codes need to be read.</summary>
    /// <param name="prefix">The layer's name.</param>
    /// <param name="kind">What the state's name says.</param>
    /// <exception cref="InputException">The state is broken, or its tensors are missing or of another size.</exception>
    public static BitsAndBytesTensor FourBit(WeightFiles files, string prefix, QuantisedKind kind)
    {
        var state = prefix + BitsAndBytesLayout.State(new QuantisedFormat(kind).Name);
        try
        {
            using var json = JsonDocument.Parse(files.Bytes(state).ToArray());
            var root = json.RootElement;
            var shape = root.GetProperty("shape").EnumerateArray().Select(size => size.GetInt64()).ToArray();
            var blockSize = root.GetProperty("blocksize").GetInt32();
            var isDouble = root.TryGetProperty("nested_offset", out var offset);
            if (shape is not [> 0, > 0] || blockSize < Lanes.Width || blockSize % Lanes.Width != 0
                || isDouble && root.GetProperty("nested_blocksize").GetInt32() != QuantisedFormat.NestedBlockSize)
                throw Broken(files, state, $"states a shape or block that is not known here: {root.GetRawText()}");
            var (count, blocks) = (shape[0] * shape[1], (shape[0] * shape[1] + blockSize - 1) / blockSize);
            Require(files, prefix + ".weight", (count + 1) / 2, bytes: true);
            Require(files, prefix + ".weight.absmax", blocks);
            Require(files, prefix + ".weight.absmax", blocks * (isDouble ? 1 : sizeof(float)), bytes: true);
            RequireBook(files, prefix + ".weight.quant_map", kind == QuantisedKind.Nf4 ? CodeBook.Nf4 : CodeBook.Fp4);
            if (isDouble)
            {
                Require(files, prefix + ".weight.nested_absmax",
                    (blocks + QuantisedFormat.NestedBlockSize - 1) / QuantisedFormat.NestedBlockSize);
                RequireBook(files, prefix + ".weight.nested_quant_map", CodeBook.Dynamic);
            }
            var type = root.TryGetProperty("dtype", out var named) ? named.GetString() switch
            {
                "bfloat16" => DType.BFloat16,
                "float16" => DType.Float16,
                _ => DType.Float32,
            } : DType.Float32;
            return new(files, prefix, new(kind, isDouble), shape[0], shape[1], type, blockSize, isDouble ? (float)offset.GetDouble() : 0);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or FormatException
            || e is InvalidOperationException and not ObjectDisposedException)
        {
            throw Broken(files, state, $"is no state of quantised weights: {e.Message}");
        }
    }

    /// <summary>A layer with int8 codes.</summary>
    public static BitsAndBytesTensor Int8(WeightFiles files, string prefix)
    {
        var info = files.Info(prefix + ".weight");
        if (info.DType != DType.Int8 || info.Shape.Count != 2)
            throw Broken(files, info.Name, $"is {info.DType} of shape {info.Shape}, but codes beside an SCB are Int8 of two dimensions");
        Require(files, prefix + ".SCB", info.Shape[0]);
        // 0 is the plain order of rows; others are those of certain GPUs.
        if (files.Has(prefix + ".weight_format") && files.Bytes(prefix + ".weight_format") is [not 0, ..])
            throw Broken(files, prefix + ".weight_format", "says that the codes lie in the order of a GPU's tiles");
        return new(files, prefix, new(QuantisedKind.Int8), info.Shape[0], info.Shape[1], DType.Float16, 0, 0);
    }

    public override CodedMatrix Codes()
    {
        using var scope = TensorScope.Enter();
        var codes = _files.Read(_prefix + ".weight");
        if (_format.Kind == QuantisedKind.Int8)
            return new(_format, Rows, Columns, Map(codes, DType.Int8, Rows, Columns), Singles(_prefix + ".SCB"));
        var absmax = _files.Read(_prefix + ".weight.absmax");
        return new(_format, Rows, Columns, Map(codes, DType.UInt8, codes.Info.ByteCount),
            _format.Double ? Map(absmax, DType.UInt8, absmax.Info.Count) : Singles(absmax.Info.Name),
            _format.Double ? Singles(_prefix + ".weight.nested_absmax") : null, _offset, _blockSize);
    }

    /// <summary>In float32, which holds them exactly.</summary>
    public override TensorData Dense(long matrix = 0)
    {
        using var scope = TensorScope.Enter();
        using var codes = new QuantisedMatrix([new(Codes(), 0, Rows)], DType.Float32);
        var data = Room(DType.Float32, out _);
        Tensor.Wrap((void*)data.Pointer, DType.Float32, [Rows, Columns]).CopyFrom(codes.Dense(DType.Float32));
        return data;
    }

    /// <summary>Float32 numbers where they lie, or a copy where the file has them at an odd address.</summary>
    private Tensor Singles(string name)
    {
        var data = _files.Read(name);
        return data.Pointer % sizeof(float) == 0 ? Map(data, DType.Float32, data.Info.Count)
            : Tensor.From(System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(data.Bytes));
    }

    private static void Require(WeightFiles files, string name, long count, bool bytes = false)
    {
        if (!files.Has(name))
            throw new InputException($"{files.Path}: lacks the tensor \"{name}\", without which the codes beside it are no weights",
                fix: "fetch the file again");
        var info = files.Info(name);
        if ((bytes ? info.ByteCount : info.Count) != count || !bytes && info.DType is not (DType.Float32 or DType.UInt8))
            throw Broken(files, name, $"is {info.DType} of shape {info.Shape}, but the codes beside it need {count}");
    }

    private static void RequireBook(WeightFiles files, string name, CodeBook book)
    {
        Require(files, name, book.Values.Length * sizeof(float), bytes: true);
        var stored = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(files.Bytes(name));
        for (var i = 0; i < stored.Length; i++)
            if (MathF.Abs(stored[i] - book.Values[i]) > 1e-6f)
                throw Broken(files, name, $"says that code {i} is {stored[i]}, but it is {book.Values[i]} in every release that is known");
    }

    private static InputException Broken(WeightFiles files, string name, string what) =>
        new($"{files.FileOf(name)}: tensor \"{name}\" {what}", fix: "save the model again with a current release of the Python library");
}
