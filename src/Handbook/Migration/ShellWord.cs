namespace Handbook.Migration;

/// <summary>A word of a command as the shell would hand it over.</summary>
/// <param name="Text">The word, variables in place.</param>
/// <param name="Line">The line that it begins in, from 1.</param>
/// <param name="Unknown">A variable in it that the script does not set; null where all are known.</param>
internal readonly record struct ShellWord(string Text, int Line, string? Unknown);
