namespace Handbook.Models.Families;

/// <summary>The sizes that a family's class has where the file says nothing.</summary>
/// <param name="Hidden">D.</param>
/// <param name="Inner">F.</param>
/// <param name="Layers">L.</param>
/// <param name="Heads">H.</param>
/// <param name="Vocabulary">V.</param>
internal readonly record struct ClassSizes(int Hidden, int Inner, int Layers, int Heads, int Vocabulary);
