using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Models.Quantised;

/// <summary>A matrix of 4-bit integers, eight in a word of 32 bits, with a scale and a zero for each group of inputs; read as
/// values.</summary>
/// <remarks>
/// <code>
/// w(o, i) = scale(g, o) · ( code(i, o) − zero(g, o) ),   g = i / group size, or g_idx(i)
/// GPTQ:  qweight [in/8, out], the words run along the inputs;   the stored zero is one less ("gptq", not "gptq_v2")
/// AWQ:   qweight [in, out/8], the words run along the outputs, in the order 0 2 4 6 1 3 5 7
/// both:  qzeros [groups, out/8] in the same order as its words of outputs,   scales [groups, out]
/// </code>
/// Sources: Frantar et al. 2022, arXiv:2210.17323; Lin et al. 2023, arXiv:2306.00978; the files of AutoGPTQ and AutoAWQ.
/// </remarks>
internal sealed unsafe class PackedTensor : QuantisedTensor
{
    /// <summary>Codes of a word.</summary>
    private const int PerWord = 8;

    /// <summary>At which place of its word AWQ keeps each of eight outputs.</summary>
    private static readonly int[] s_awqPlaces = [0, 4, 1, 5, 2, 6, 3, 7];

    private readonly WeightFiles _files;
    private readonly string _prefix;
    private readonly bool _isAwq;
    private readonly int _zeroOffset;

    private PackedTensor(WeightFiles files, string prefix, bool isAwq, int zeroOffset, long rows, long columns, DType type)
        : base(prefix + ".weight", rows, columns, type) =>
        (_files, _prefix, _isAwq, _zeroOffset) = (files, prefix, isAwq, zeroOffset);

    public override IEnumerable<string> Names => ((string[])[".qweight", ".qzeros", ".scales", ".g_idx"])
        .Select(ending => _prefix + ending).Where(_files.Has);

    public override string Kind => _isAwq ? "AWQ, 4-bit" : "GPTQ, 4-bit";

    /// <param name="prefix">The layer's name.</param>
    /// <param name="isAwq">Which of the two it is; their tensors have the same names.</param>
    /// <param name="zeroOffset">Added to stored zeros.</param>
    /// <param name="type">Element type of the values.</param>
    /// <exception cref="InputException">Its tensors are missing or do not fit one another.</exception>
    public static PackedTensor Of(WeightFiles files, string prefix, bool isAwq, int zeroOffset, DType type)
    {
        foreach (var ending in (string[])[".qzeros", ".scales"])
            if (!files.Has(prefix + ending))
                throw Unfit($"lacks the tensor \"{prefix}{ending}\"");
        var (words, zeros, scales) = (files.Info(prefix + ".qweight"), files.Info(prefix + ".qzeros"), files.Info(prefix + ".scales"));
        if (words.DType != DType.Int32 || words.Shape.Count != 2 || zeros.DType != DType.Int32 || zeros.Shape.Count != 2
            || scales.Shape.Count != 2 || !scales.DType.IsFloat)
            throw Unfit($"has codes of {words.DType}, zeros of {zeros.DType} and scales of {scales.DType}");
        var outputs = isAwq ? words.Shape[1] * PerWord : words.Shape[1];
        var inputs = isAwq ? words.Shape[0] : words.Shape[0] * PerWord;
        var groups = scales.Shape[0];
        if (scales.Shape[1] != outputs || zeros.Shape[0] != groups || zeros.Shape[1] * PerWord != outputs || groups == 0
            || inputs % groups != 0 && !files.Has(prefix + ".g_idx"))
            throw Unfit($"has codes of shape {words.Shape}, zeros of {zeros.Shape} and scales of {scales.Shape}, which are not those of "
                + "4-bit codes");
        if (files.Has(prefix + ".g_idx"))
        {
            var places = files.Info(prefix + ".g_idx");
            if (places.DType != DType.Int32 || places.Count != inputs)
                throw Unfit($"has a g_idx of {places.DType} {places.Shape} for {inputs} inputs");
            foreach (var group in System.Runtime.InteropServices.MemoryMarshal.Cast<byte, int>(files.Bytes(places.Name)))
                if (group < 0 || group >= groups)
                    throw Unfit($"has the group {group} in its g_idx, but {groups} groups");
        }
        return new(files, prefix, isAwq, zeroOffset, outputs, inputs, type);

        InputException Unfit(string what) => new($"{files.FileOf(prefix + ".qweight")}: the layer \"{prefix}\" {what}",
            "GPTQ and AWQ are read with 4-bit codes in their plain layout",
            "name the model in full precision that it was made from");
    }

    public override TensorData Dense(long matrix = 0)
    {
        var (words, zeros, stored) = (_files.Read(_prefix + ".qweight"), _files.Read(_prefix + ".qzeros"), _files.Read(_prefix + ".scales"));
        var scales = new float[stored.Info.Count];
        fixed (float* pointer = scales)
            ElementConversion.Convert(stored.Bytes, stored.Info.DType, new(pointer, scales.Length * sizeof(float)), DType.Float32);
        var groups = GroupOf(stored.Info.Shape[0]);
        var data = Room(Type, out var buffer);
        Parallel.For(0, (int)Rows, output =>
        {
            var values = new float[Columns];
            var place = _isAwq ? s_awqPlaces[output % PerWord] : output % PerWord;
            for (var i = 0; i < values.Length; i++)
            {
                var group = groups[i];
                var code = _isAwq ? ((uint*)words.Pointer)[i * (Rows / PerWord) + output / PerWord] >> 4 * place
                    : ((uint*)words.Pointer)[i / PerWord * Rows + output] >> 4 * (i % PerWord);
                var zero = ((uint*)zeros.Pointer)[group * (Rows / PerWord) + output / PerWord] >> 4 * place;
                values[i] = scales[group * Rows + output] * ((int)(code & 15) - ((int)(zero & 15) + _zeroOffset));
            }
            fixed (float* pointer = values)
                ElementConversion.Convert(new(pointer, values.Length * sizeof(float)), DType.Float32,
                    new(buffer.Pointer + output * Columns * Type.Size, (int)Columns * Type.Size), Type);
        });
        GC.KeepAlive(words.Owner);
        return data;
    }

    private int[] GroupOf(long groups)
    {
        if (_files.Has(_prefix + ".g_idx"))
            return System.Runtime.InteropServices.MemoryMarshal.Cast<byte, int>(_files.Bytes(_prefix + ".g_idx")).ToArray();
        var size = (int)(Columns / groups);
        return [.. Enumerable.Range(0, (int)Columns).Select(i => i / size)];
    }
}
