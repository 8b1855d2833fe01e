using System.Text;

namespace Handbook.Models.Files;

/// <summary>The few things a pickle may build by name: tensors, parameters, ordered dictionaries, sizes. Everything
/// else is refused by name.</summary>
internal static class PickledObjects
{
    private static readonly HashSet<string> _storages =
    [
        "DoubleStorage", "FloatStorage", "HalfStorage", "BFloat16Storage", "LongStorage", "IntStorage", "ShortStorage", "CharStorage",
        "ByteStorage", "BoolStorage", "UntypedStorage",
    ];

    public static bool IsStorage(PickledGlobal type) =>
        type.Module is "torch" or "torch.storage" or "torch.cuda" && _storages.Contains(type.Name);

    public static object? Make(string file, PickledGlobal callee, object?[] arguments) => (callee.Module, callee.Name, arguments) switch
    {
        ("collections", "OrderedDict", []) => new PickledDict(),
        ("collections", "OrderedDict", [List<object?> pairs]) => Dict(file, pairs),
        ("torch._utils", "_rebuild_tensor_v2" or "_rebuild_tensor",
            [PickledStorage storage, long offset, object?[] shape, object?[] strides, ..]) =>
            new PickledTensor(storage, offset, Longs(file, shape), Longs(file, strides)),
        ("torch._utils", "_rebuild_tensor_v3",
            [PickledStorage storage, long offset, object?[] shape, object?[] strides, _, _, PickledGlobal dtype, ..]) =>
            new PickledTensor(storage, offset, Longs(file, shape), Longs(file, strides), dtype.Name),
        ("torch._utils", "_rebuild_parameter" or "_rebuild_parameter_with_state", [PickledTensor data, ..]) => data,
        ("torch", "Size", [object?[] sizes]) => sizes,
        ("torch", "device", [string kind, ..]) => kind,
        ("_codecs", "encode", [string text, string coding]) when coding is "latin1" or "latin-1" => Encoding.Latin1.GetBytes(text),
        ("builtins" or "__builtin__", "set" or "list" or "frozenset", [List<object?> items]) => items,
        _ when IsKnown(callee) => throw PickleReader.Broken(file, $"calls {callee} with arguments that do not fit"),
        _ => throw PickleReader.Broken(file,
            $"asks to import and call {callee}, which is refused: only tensors and plain containers are read"),
    };

    private static bool IsKnown(PickledGlobal callee) => callee.Module == "torch._utils" && callee.Name.StartsWith("_rebuild_")
        || callee is { Module: "collections", Name: "OrderedDict" } or { Module: "torch", Name: "Size" or "device" };

    private static PickledDict Dict(string file, List<object?> pairs)
    {
        var dict = new PickledDict();
        foreach (var pair in pairs)
            dict.Items.Add(pair is object?[] { Length: 2 } two || pair is List<object?> { Count: 2 } list && (two = [.. list]).Length == 2
                ? (two[0], two[1])
                : throw PickleReader.Broken(file, "builds an OrderedDict from something other than pairs"));
        return dict;
    }

    private static long[] Longs(string file, object?[] tuple)
    {
        var numbers = new long[tuple.Length];
        for (var i = 0; i < tuple.Length; i++)
            numbers[i] = tuple[i] is long number and >= 0 ? number
                : throw PickleReader.Broken(file, "has a tensor whose shape or strides are not whole numbers of at least 0");
        return numbers;
    }
}
