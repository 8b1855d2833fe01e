using Handbook.Models.Families;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models;

/// <summary>What is known of a model's weights before any is read: enough to plan how each is kept.</summary>
internal interface IStoredWeights
{
    /// <summary>The network that the weights are of.</summary>
    DecoderConfig Config { get; }

    /// <summary>The family whose published names they have.</summary>
    Family Family { get; }

    /// <summary>Every parameter of the decoder, in the order the published library creates them.</summary>
    IReadOnlyList<ParameterSpec> Parameters { get; }

    /// <summary>Whether the score head is a new one, because the checkpoint is a language model's.</summary>
    bool HasNewHead { get; }

    /// <summary>The element type a parameter is stored with; of codes that of their values.</summary>
    DType DTypeOf(string name);

    /// <summary>The format of a parameter's codes; null where it is stored otherwise.</summary>
    QuantisedFormat? FormatOf(string name);

    /// <summary>Whether a parameter lies in the file as it is used.</summary>
    bool CanMap(string name);
}
