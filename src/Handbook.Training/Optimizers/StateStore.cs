using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Optimizers;

/// <summary>How an optimiser keeps what it remembers of every weight.</summary>
internal sealed record StateLayout
{
    /// <summary>Bits of a number: 32, or 8 in blocks of 256.</summary>
    public int Bits { get; init; } = 32;

    /// <summary>Published tensors with fewer elements are kept in 32 bits in any case.</summary>
    public long SmallestCoded { get; init; } = 4096;

    /// <summary>Whether the tables of tokens and positions are among those in 8 bits. The Python trainer keeps them in 32.</summary>
    public bool CodesEmbedding { get; init; }

    /// <summary>The folder in which states lie in a file; null keeps them in memory.</summary>
    public string? SpillFolder { get; init; }

    public bool Codes(ParameterPiece piece) => Codes(piece.Spec, piece.Count);

    /// <param name="count">Elements of the published tensor.</param>
    private bool Codes(ParameterSpec spec, long count) => Bits == 8 && count >= SmallestCoded && (CodesEmbedding || !spec.IsTable);

    /// <summary>Bytes of one state of a parameter whose numbers are of a type.</summary>
    public double Bytes(ParameterSpec spec, DType type) => spec.Pieces.Sum(piece =>
    {
        var count = spec.Count / spec.Shape[0] * piece.Rows;
        return (double)count * (Codes(spec, count) ? 1 + 4.0 / CodedStateKernel.Block : type.Size);
    });

    /// <summary>How the optimiser of a run keeps its states.</summary>
    public static StateLayout Of(TrainingOptions options)
    {
        var (traits, numbers) = (OptimizerTraits.Of(options.Optimizer()), options.OptimizerArguments());
        return new()
        {
            Bits = traits.Bits,
            SmallestCoded = traits.Bits == 8 ? (long)numbers.Number("min_8bit_size") : 0,
            CodesEmbedding = traits.Bits == 8 && numbers.Text("embedding_bits") == "8",
            SpillFolder = options.IsPaged() ? options.OutputDir : null,
        };
    }

    /// <summary>What a description adds to the optimiser's name.</summary>
    public string Description => (Bits == 8 ? $"; states in 8 bits{(CodesEmbedding ? "" : ", those of the embedding in 32")}"
        + $", from {SmallestCoded} elements on" : "") + (SpillFolder is null ? "" : "; paged");
}

/// <summary>Where states lie: in memory, or in a file of which the part that is updated is in memory.</summary>
/// <param name="spillFolder">Null for memory.</param>
/// <param name="device">Whose memory that is.</param>
internal sealed class StateStore(string? spillFolder, Device device) : IDisposable
{
    /// <summary>Smaller tensors are not worth a place in a file.</summary>
    private const long SmallestPaged = 100_000;

    private readonly SpillFile? _file = spillFolder is null ? null : new(spillFolder);
    private readonly List<Tensor> _tensors = [];

    /// <summary>Elements that are updated before their pages are given away: a multiple of a block, 16 MiB of a state in 32 bits.</summary>
    public long Window => _file is null ? long.MaxValue : 1 << 22;

    /// <summary>Zeros, alive until this store is disposed of; [count].</summary>
    public Tensor Zeros(DType type, long count)
    {
        using var scope = TensorScope.Enter();
        var tensor = TensorScope.Detach(_file is not null && count >= SmallestPaged ? _file.Zeros(type, count) : Tensor.Zeros(type, device, count));
        _tensors.Add(tensor);
        return tensor;
    }

    /// <summary>Says that a part of a tensor is not needed until the next step.</summary>
    /// <param name="whole">The tensor that <see cref="Zeros"/> gave.</param>
    public void Release(Tensor whole, Tensor part)
    {
        if (_file is not null && whole.Count >= SmallestPaged)
            SpillFile.Release(part);
    }

    /// <summary>The same of everything.</summary>
    public void Release()
    {
        foreach (var tensor in _tensors)
            Release(tensor, tensor);
    }

    public void Dispose()
    {
        foreach (var tensor in _tensors)
            tensor.Dispose();
        _file?.Dispose();
    }
}
