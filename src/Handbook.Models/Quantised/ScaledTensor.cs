using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Models.Quantised;

/// <summary>A matrix of 8-bit floats or integers with scales: one for all, one for each row, or one for each block (DeepSeek's 128 × 128).
/// It is read as values.</summary>
/// <remarks><code>w(r, c) = code(r, c) · scale( r / rows of a block, c / columns of a block )</code></remarks>
internal sealed unsafe class ScaledTensor : QuantisedTensor
{
    private readonly WeightFiles _files;
    private readonly string _scale;
    private readonly long _blockRows, _blockColumns;

    private ScaledTensor(WeightFiles files, string name, string scale, TensorInfo codes, DType type, long blockRows, long blockColumns)
        : base(name, codes.Shape[0], codes.Shape[1], type) =>
        (_files, _scale, _blockRows, _blockColumns) = (files, scale, blockRows, blockColumns);

    /// <summary>What scales of weights are called.</summary>
    public static IReadOnlyList<string> ScaleEndings { get; } = ["_scale_inv", "_scale"];

    /// <summary>What scales of activations are called. They are passed by: products here do not round their inputs.</summary>
    private static readonly string[] s_inputScales = [".input_scale", ".act_scale", ".input_scale_ub"];

    public override IEnumerable<string> Names => [Name, _scale, .. s_inputScales.Select(ending => Name[..^".weight".Length] + ending)
        .Where(_files.Has)];

    public override string Kind => $"{(_files.Info(Name).DType == DType.Int8 ? "int8" : "float8")} with scales of "
        + (_blockRows == Rows && _blockColumns == Columns ? "tensors" : _blockRows == 1 && _blockColumns == Columns ? "rows"
            : $"{_blockRows} × {_blockColumns} blocks");

    /// <param name="name">The codes.</param>
    /// <param name="scale">Their scales.</param>
    /// <param name="block">Rows and columns of a block as config.json states them; null where it does not.</param>
    /// <param name="type">Element type of the values.</param>
    /// <exception cref="InputException">The scales do not fit the codes.</exception>
    public static ScaledTensor Of(WeightFiles files, string name, string scale, (long Rows, long Columns)? block, DType type)
    {
        var (codes, scales) = (files.Info(name), files.Info(scale));
        if (codes.Shape is not { Count: 2 } || codes.DType is not (DType.Float8E4M3 or DType.Float8E5M2 or DType.Int8))
            throw Unfit($"the codes are {codes.DType} of shape {codes.Shape}");
        var (rows, columns) = (codes.Shape[0], codes.Shape[1]);
        if (!scales.DType.IsFloat || scales.DType.Size == 1)
            throw Unfit($"the scales are {scales.DType}");
        if (scales.Count == 1)
            return new(files, name, scale, codes, type, rows, columns);
        if (scales.Count == rows && scales.Shape[0] == rows)
            return new(files, name, scale, codes, type, 1, columns);
        var (high, wide) = block ?? (128, 128);
        if (scales.Shape.Count == 2 && scales.Shape[0] == (rows + high - 1) / high && scales.Shape[1] == (columns + wide - 1) / wide)
            return new(files, name, scale, codes, type, high, wide);
        throw Unfit($"codes of shape {codes.Shape} have scales of shape {scales.Shape}");

        InputException Unfit(string what) => new($"{files.FileOf(scale)}: tensor \"{scale}\" does not fit \"{name}\": {what}",
            "known are one scale for the matrix, one for each row, and one for each block of the size that config.json states",
            "name the model in full precision that it was made from");
    }

    public override TensorData Dense(long matrix = 0)
    {
        var (codes, scales) = (_files.Read(Name), _files.Read(_scale));
        var factors = new float[scales.Info.Count];
        fixed (float* pointer = factors)
            ElementConversion.Convert(scales.Bytes, scales.Info.DType, new(pointer, factors.Length * sizeof(float)), DType.Float32);
        var data = Room(Type, out var buffer);
        var wide = (Columns + _blockColumns - 1) / _blockColumns;
        Parallel.For(0, (int)Rows, row =>
        {
            var values = new float[Columns];
            fixed (float* pointer = values)
            {
                var bytes = new Span<byte>(pointer, values.Length * sizeof(float));
                if (codes.Info.DType == DType.Int8)
                    for (var c = 0; c < values.Length; c++)
                        values[c] = ((sbyte*)codes.Pointer)[row * Columns + c];
                else
                    ElementConversion.Convert(new((byte*)codes.Pointer + row * Columns, (int)Columns), codes.Info.DType, bytes,
                        DType.Float32);
                for (var c = 0; c < values.Length; c++)
                    values[c] *= factors[row / _blockRows * wide + c / _blockColumns];
                ElementConversion.Convert(bytes, DType.Float32,
                    new(buffer.Pointer + row * Columns * Type.Size, (int)Columns * Type.Size), Type);
            }
        });
        GC.KeepAlive(codes.Owner);
        return data;
    }
}
