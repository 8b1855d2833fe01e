using Handbook.Base;
using Handbook.Models.Generation;
using Handbook.Torch;

namespace Handbook.Models.Gguf;

/// <summary>How much the columns of each matrix count in a text: the mean square of what the network multiplies them with.</summary>
/// <remarks>A rounding error e of a column changes an output by e·x; Σ e²·mean(x²) is what a search for scales makes small. The idea and
/// its use are llama.cpp's importance matrix.</remarks>
internal sealed class ImportanceMatrix
{
    private readonly Dictionary<string, (double[] Squares, long Tokens)> _sums = [];

    private ImportanceMatrix(long tokens) => Tokens = tokens;

    /// <summary>Tokens that were read.</summary>
    public long Tokens { get; }

    /// <summary>Matrices that were read.</summary>
    public int Count => _sums.Count;

    /// <param name="text">What the model should be good at, of its own kind.</param>
    /// <param name="window">Tokens that are read at once.</param>
    /// <param name="done">Told how many tokens of a window are done.</param>
    /// <exception cref="InputException">The text has no tokens.</exception>
    public static ImportanceMatrix Of(LanguageModel model, string text, int window, Action<long>? done = null,
        CancellationToken cancel = default)
    {
        var ids = model.Tokenizer.Encode(text, addSpecialTokens: false);
        if (ids.Length == 0)
            throw new InputException("the text has no tokens", fix: "name a longer one, some thousand tokens of what the model is for");
        var matrix = new ImportanceMatrix(ids.Length);
        var parameters = model.Network.Parameters;
        var watched = parameters.Specs.Where(spec => spec.Kind == ParameterKind.Weight && spec.Shape.Count == 2).ToArray();
        foreach (var spec in watched)
            parameters[spec.Name].InputObserver = x => matrix.Add(spec.Name, x);
        try
        {
            using var mode = GradMode.Disabled();
            for (var start = 0; start < ids.Length; start += window)
            {
                cancel.ThrowIfCancellationRequested();
                using var scope = TensorScope.Enter();
                var tokens = ids[start..Math.Min(ids.Length, start + window)];
                matrix.Add(ParameterSpec.Head, model.Network.Hidden(StreamLayout.Of([tokens])));
                done?.Invoke(tokens.Length);
            }
        }
        finally
        {
            foreach (var spec in watched)
                parameters[spec.Name].InputObserver = null;
        }
        return matrix;
    }

    /// <summary>Of each column of one of our parameters; empty where nothing was multiplied with it.</summary>
    /// <param name="our">Its name, fused with its neighbours or not.</param>
    public ReadOnlySpan<float> Of(string our)
    {
        foreach (var name in (string[])[our, our.Replace(".query.", ".query_key_value.").Replace(".key.", ".query_key_value.")
            .Replace(".value.", ".query_key_value."), our.Replace(".gate.", ".gate_up.").Replace(".up.", ".gate_up.")])
            if (_sums.TryGetValue(name, out var sum))
                return Array.ConvertAll(sum.Squares, square => (float)(square / sum.Tokens));
        return [];
    }

    private void Add(string name, Tensor x)
    {
        using var scope = TensorScope.Enter();
        var wide = x.To(DType.Float32);
        var squares = (wide * wide).Sum(0).ToArray<float>();
        if (!_sums.TryGetValue(name, out var sum))
            sum = (new double[squares.Length], 0);
        for (var i = 0; i < squares.Length; i++)
            sum.Squares[i] += squares[i];
        _sums[name] = (sum.Squares, sum.Tokens + x.Shape[0]);
    }
}
