namespace Handbook.Models.Families;

/// <summary>Layers of experts, and what is no matrix.</summary>
internal sealed partial class ParameterList
{
    /// <summary>The router and experts that are published one by one.</summary>
    /// <param name="published">Prefix of their names.</param>
    /// <param name="router">The router's name behind it.</param>
    public void Experts(string our, string published, string router, (string Gate, string Up, string Down) names, DecoderConfig config,
        bool fused)
    {
        var experts = config.Experts!;
        Linear(our + ".router", published + router, experts.Count, config.HiddenSize, bias: false);
        for (var e = 0; e < experts.Count; e++)
            GatedMlp($"{our}.experts.{e}", $"{published}experts.{e}.", names, config, fused, Inner(config));
    }

    /// <summary>Experts that are published as two tensors, gate and up of all of them in one.</summary>
    /// <param name="gateUp">[E, 2F, D], or [E, D, 2F].</param>
    /// <param name="down">[E, D, F], or [E, F, D].</param>
    /// <param name="transposed">Matrices are published [in, out].</param>
    /// <param name="interleaved">Rows of gate and up take turns; otherwise those of up stand behind those of gate.</param>
    /// <param name="biases">Of what they have biases, [E, rows]; null for none.</param>
    public void StackedExperts(string our, string gateUp, string down, DecoderConfig config, bool fused, bool transposed = false,
        bool interleaved = false, (string GateUp, string Down)? biases = null)
    {
        var (d, f, count) = (config.HiddenSize, Inner(config), config.Experts!.Count);
        for (var e = 0; e < count; e++)
        {
            var path = $"{our}.experts.{e}";
            ParameterPart[] halves = [Of(gateUp, e, 2 * f, d), Of(gateUp, e, 2 * f, d)];
            ParameterPart[] biasHalves = biases is { } named ? [OfVectors(named.GateUp, e, 2 * f), OfVectors(named.GateUp, e, 2 * f)] : [];
            if (fused && !interleaved)
                Add(path + ".gate_up", [halves[0]], [.. biasHalves.Take(1)], 2 * f, d);
            else if (fused)
                Add(path + ".gate_up", [.. Both(halves, 0, f)], [.. Both(biasHalves, 0, f)], 2 * f, d);
            else
            {
                Add(path + ".gate", [.. Both(halves, 0, 0).Take(1)], [.. Both(biasHalves, 0, 0).Take(1)], f, d);
                Add(path + ".up", [.. Both(halves, 0, 0).Skip(1)], [.. Both(biasHalves, 0, 0).Skip(1)], f, d);
            }
            Add(path + ".down", [Of(down, e, d, f)], biases is { } more ? [OfVectors(more.Down, e, d)] : [], d, f);
        }

        // The rows of gate and of up, and where they begin in ours.
        ParameterPart[] Both(ParameterPart[] parts, long gateStart, long upStart) => parts.Length == 0 ? [] :
        [
            parts[0] with { Start = gateStart, Rows = f, Step = interleaved ? 2 : 1 },
            parts[1] with { Start = upStart, Rows = f, Step = interleaved ? 2 : 1, PublishedStart = interleaved ? 1 : f },
        ];

        ParameterPart Of(string published, int expert, long rows, long columns) =>
            new(published, transposed ? [count, columns, rows] : [count, rows, columns], 0, 0, rows, transposed)
            {
                IsStacked = true,
                Matrix = expert,
            };

        ParameterPart OfVectors(string published, int expert, long rows) => new(published, [count, rows], 0, 0, rows, false)
        {
            IsStacked = true,
            Matrix = expert,
        };

        void Add(string name, ValueList<ParameterPart> parts, ValueList<ParameterPart> biasParts, long rows, long columns)
        {
            _specs.Add(new(name + ".weight", [rows, columns], parts, ParameterKind.Weight, std));
            if (biasParts.Count > 0)
                AddBias(name, biasParts, rows);
        }
    }

    /// <summary>The expert that all tokens visit.</summary>
    /// <param name="published">Prefix of its names.</param>
    public void SharedExpert(string our, string published, DecoderConfig config, bool fused) =>
        GatedMlp(our + ".shared", published, ("gate_proj", "up_proj", "down_proj"), config, fused, config.Experts!.SharedInnerSize);

    /// <summary>A vector that a kernel reads, and that is trained.</summary>
    public void Numbers(string our, string published, int size) =>
        _specs.Add(new(our, [size], [Vector(published, size)], ParameterKind.Vector, std));

    /// <summary>A vector that nothing trains.</summary>
    public void Buffer(string our, string published, int size) =>
        _specs.Add(new(our, [size], [Vector(published, size)], ParameterKind.Buffer, 0));

    /// <summary>Width inside an expert.</summary>
    private static int Inner(DecoderConfig config) =>
        config.Experts!.InnerSize > 0 ? config.Experts.InnerSize : config.IntermediateSize;
}
