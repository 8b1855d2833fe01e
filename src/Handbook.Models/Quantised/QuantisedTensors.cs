using Handbook.Models.Files;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Quantised;

/// <summary>A checkpoint on its way into bitsandbytes' layout: its linear weights as codes, everything else as it is stored.</summary>
internal sealed class QuantisedTensors : IDisposable
{
    private readonly List<CodedMatrix> _matrices = [];
    private readonly List<TensorToSave> _tensors = [];

    private QuantisedTensors()
    {
    }

    /// <summary>What to write, under the published names.</summary>
    public IReadOnlyList<TensorToSave> Tensors => _tensors;

    /// <summary>The published matrices that are codes.</summary>
    public int Matrices => _matrices.Count;

    /// <param name="weights">A checkpoint; must live until the tensors are written.</param>
    /// <param name="codesOnly">Leaves out what is not quantised.</param>
    /// <param name="done">Told of the weights of each matrix that was quantised.</param>
    public static QuantisedTensors Of(ModelWeights weights, QuantisedFormat format, bool codesOnly = false, Action<long>? done = null)
    {
        var result = new QuantisedTensors();
        try
        {
            foreach (var (spec, part) in weights.Parameters.SelectMany(spec => spec.Parts.Select(part => (spec, part)))
                .DistinctBy(of => of.part.Published))
                if (WeightQuantisation.Applies(spec))
                {
                    var count = result.Add(weights, part, format);
                    done?.Invoke(count);
                }
                else if (!codesOnly)
                    result._tensors.Add(TensorToSave.From(weights.Published(part)));
            return result;
        }
        catch
        {
            result.Dispose();
            throw;
        }
    }

    private long Add(ModelWeights weights, ParameterPart part, QuantisedFormat format)
    {
        var matrix = weights.Codes(part, format);
        _matrices.Add(matrix);
        _tensors.AddRange(BitsAndBytesLayout.Tensors(part.Published, matrix, weights.TypeOf(part)));
        return matrix.Rows * matrix.Columns;
    }

    public void Dispose()
    {
        foreach (var matrix in _matrices)
            matrix.Dispose();
    }
}
