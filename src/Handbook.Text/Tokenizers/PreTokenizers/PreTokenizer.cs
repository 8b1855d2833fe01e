namespace Handbook.Text.Tokenizers.PreTokenizers;

/// <summary>Cuts text into the pieces that the model encodes one by one; some also rewrite them.</summary>
internal abstract class PreTokenizer
{
    public abstract void Apply(PieceList pieces);

    /// <summary>Whether the places in the original text must be known for the right pieces.</summary>
    public virtual bool NeedsPlaces => false;
}

internal sealed class SequencePreTokenizer(PreTokenizer[] steps) : PreTokenizer
{
    public override bool NeedsPlaces => steps.Any(step => step.NeedsPlaces);

    public override void Apply(PieceList pieces)
    {
        foreach (var step in steps)
            step.Apply(pieces);
    }
}
