using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers.Patterns;

/// <summary>Syntax tree of a regular expression.</summary>
internal abstract record PatternNode;

/// <summary>One code point of a set.</summary>
internal sealed record CharacterSetNode(CharacterClass Set) : PatternNode;

internal sealed record SequenceNode(PatternNode[] Parts) : PatternNode;

internal sealed record ChoiceNode(PatternNode[] Choices) : PatternNode;

/// <param name="Max">−1 for no limit.</param>
internal sealed record RepeatNode(PatternNode Body, int Min, int Max, RepeatKind Kind) : PatternNode;

/// <param name="Number">Number of the capture.</param>
internal sealed record CaptureNode(PatternNode Body, int Number) : PatternNode;

/// <summary><c>(?&gt;…)</c>: no way back into it.</summary>
internal sealed record AtomicNode(PatternNode Body) : PatternNode;

internal sealed record LookNode(PatternNode Body, bool Behind, bool Negative) : PatternNode;

internal sealed record AnchorNode(AnchorKind Kind) : PatternNode;

internal sealed record BackReferenceNode(int Number, bool IgnoreCase) : PatternNode;

internal enum RepeatKind
{
    Greedy,
    Lazy,
    Possessive,
}

internal enum AnchorKind
{
    LineStart,
    LineEnd,
    TextStart,
    TextEnd,
    TextEndBeforeNewline,
    SearchStart,
    WordBoundary,
    NotWordBoundary,
    Keep,
}
