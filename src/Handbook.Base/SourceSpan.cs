namespace Handbook.Base;

/// <summary>A place in a recipe file or in a command-line argument, with the line it stands on.</summary>
/// <param name="Source">The file's path as the user wrote it; null for the command line.</param>
/// <param name="Line">From 1; 0 for the command line.</param>
/// <param name="Column">From 1.</param>
/// <param name="Length">Characters to underline; at least 1.</param>
/// <param name="Text">The whole line, or the whole argument.</param>
public readonly record struct SourceSpan(string? Source, int Line, int Column, int Length, string Text)
{
    /// <summary>The same place, but <paramref name="length"/> characters from <paramref name="offset"/> on.</summary>
    internal SourceSpan Part(int offset, int length) => this with { Column = Column + offset, Length = Math.Max(1, length) };
}
