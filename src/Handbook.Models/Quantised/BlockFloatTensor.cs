using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Models.Quantised;

/// <summary>The matrices of all experts in 4-bit floats (MXFP4), 32 of which share a power of two; they are read as values, one matrix at a
/// time.</summary>
/// <remarks>
/// <code>
/// w(e, o, i) = value( code(e, o, i) ) · 2^( scale(e, o, i / 32) − 127 ),   values 0 ½ 1 1½ 2 3 4 6, and with bit 3 set their negatives
/// </code>
/// <c>…_blocks</c> [E, out, in/32, 16] holds two codes a byte, the lower four bits first; <c>…_scales</c> [E, out, in/32]. The plain tensor
/// is published [E, in, out]. Source: Open Compute Project 2023, OCP Microscaling Formats (MX) Specification 1.0, §5.
/// </remarks>
internal sealed unsafe class BlockFloatTensor : QuantisedTensor
{
    private const int PerBlock = 32;

    private static readonly float[] s_values = [0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0f, -0.5f, -1, -1.5f, -2, -3, -4, -6];

    private readonly WeightFiles _files;

    private BlockFloatTensor(WeightFiles files, string name, ValueList<long> blocks, DType type)
        : base(name, blocks[1], blocks[2] * PerBlock, type) => (_files, Matrices) = (files, blocks[0]);

    public override long Matrices { get; }

    public override IEnumerable<string> Names => [BlocksOf(Name), ScalesOf(Name)];

    public override string Kind => "mxfp4";

    /// <summary>What the codes of a tensor are called.</summary>
    public const string Ending = "_blocks";

    private static string BlocksOf(string name) => name + Ending;

    private static string ScalesOf(string name) => name + "_scales";

    /// <summary>A tensor whose codes are there; null where they have no scales beside them.</summary>
    /// <param name="type">Element type of the values.</param>
    /// <exception cref="InputException">Codes and scales do not fit one another.</exception>
    public static BlockFloatTensor? Of(WeightFiles files, string name, DType type)
    {
        if (!files.Has(ScalesOf(name)))
            return null;
        var (blocks, scales) = (files.Info(BlocksOf(name)), files.Info(ScalesOf(name)));
        if (blocks.DType != DType.UInt8 || scales.DType != DType.UInt8 || blocks.Shape.Count != 4 || blocks.Shape[3] != PerBlock / 2
            || !scales.Shape.Equals((ValueList<long>)[.. blocks.Shape.Take(3)]))
            throw new InputException($"{files.FileOf(BlocksOf(name))}: tensor \"{BlocksOf(name)}\" of {blocks.DType} {blocks.Shape} does not "
                + $"fit \"{ScalesOf(name)}\" of {scales.DType} {scales.Shape}",
                "known are codes [experts, out, blocks, 16] and scales [experts, out, blocks], both of bytes",
                "name the model in full precision that it was made from");
        return new(files, name, blocks.Shape, type);
    }

    public override TensorData Dense(long matrix = 0)
    {
        var (blocks, scales) = (_files.Read(BlocksOf(Name)), _files.Read(ScalesOf(Name)));
        var data = Room(Type, out var buffer);
        Parallel.For(0, (int)Rows, row =>
        {
            var values = new float[Columns];
            var first = (matrix * Rows + row) * (Columns / PerBlock);
            for (var i = 0; i < values.Length; i += 2)
            {
                var pair = ((byte*)blocks.Pointer)[first * (PerBlock / 2) + i / 2];
                var scale = MathF.ScaleB(1, ((byte*)scales.Pointer)[first + i / PerBlock] - 127);
                (values[i], values[i + 1]) = (s_values[pair & 15] * scale, s_values[pair >> 4] * scale);
            }
            fixed (float* pointer = values)
                ElementConversion.Convert(new(pointer, values.Length * sizeof(float)), DType.Float32,
                    new(buffer.Pointer + row * Columns * Type.Size, (int)Columns * Type.Size), Type);
        });
        GC.KeepAlive(blocks.Owner);
        return data;
    }
}
