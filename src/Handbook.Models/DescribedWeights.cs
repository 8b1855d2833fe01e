using Handbook.Models.Families;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models;

/// <summary>The weights that a <c>config.json</c> describes, without the files that hold them.</summary>
/// <param name="config">The model's.</param>
internal sealed class DescribedWeights(PublishedConfig config) : IStoredWeights
{
    private readonly Dictionary<string, ParameterSpec> _specs =
        config.Family.Parameters(config.Decoder, fused: true).ToDictionary(spec => spec.Name);

    public DecoderConfig Config => config.Decoder;

    public Family Family => config.Family;

    public IReadOnlyList<ParameterSpec> Parameters { get; } = config.Family.Parameters(config.Decoder, fused: true);

    /// <summary>A config of a language model with a score head is one whose head is yet to be made; it costs the same either way.</summary>
    public bool HasNewHead => config.Decoder.Head == ModelHead.Score;

    public DType DTypeOf(string name) => config.Decoder.DType ?? DType.Float32;

    /// <summary>Only the files say so; a config that has codes is refused by who plans with it.</summary>
    public QuantisedFormat? FormatOf(string name) => null;

    public bool CanMap(string name) => _specs[name].Parts is [{ IsAsPublished: true }];
}
