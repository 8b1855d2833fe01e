namespace Handbook.Text.Tokenizers.Models;

/// <summary>What turns a piece of text into ids.</summary>
internal abstract class Model
{
    /// <summary>Token → id.</summary>
    public abstract Dictionary<string, int> Vocabulary { get; }

    /// <summary>The token that stands for unknown text; null where the model has none.</summary>
    public virtual string? UnknownToken => null;

    /// <summary>Whether an unknown token is shown as the text it stands for.</summary>
    public virtual bool UnknownKeepsText => false;

    public abstract string? TokenOf(int id);

    /// <summary>One more than the largest id.</summary>
    public abstract int IdLimit { get; }

    /// <summary>Appends the tokens of a piece, each with the number of UTF-8 bytes of the piece that it covers.</summary>
    public abstract void Encode(ReadOnlySpan<int> piece, EncodeScratch scratch, TokenSink sink);
}
