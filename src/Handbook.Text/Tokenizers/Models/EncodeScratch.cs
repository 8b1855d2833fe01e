namespace Handbook.Text.Tokenizers.Models;

/// <summary>What one thread needs to encode, kept between calls.</summary>
internal sealed class EncodeScratch
{
    public PieceList Pieces { get; } = new();

    public TextBuffer Raw { get; } = new();

    public TextBuffer Normal { get; } = new();

    public TextBuffer Spare { get; } = new();

    public TokenSink Sink { get; } = new();

    public WordCache Cache { get; } = new();

    public Merger Merger { get; } = new();

    /// <summary>Byte → index of its character in the piece under way.</summary>
    public int[] ByteToPoint = [];

    public List<AddedMatch> RawMatches { get; } = [];

    public List<AddedMatch> NormalMatches { get; } = [];
}
