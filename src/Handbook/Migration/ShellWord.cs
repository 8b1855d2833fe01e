namespace Handbook.Migration;

/// <summary>A word of a command as the shell would hand it over.</summary>
/// <param name="Text">The word, variables in place.</param>
/// <param name="Line">The line that it begins in, from 1.</param>
/// <param name="Unknown">A variable in it that the script does not set; null where all are known.</param>
/// <param name="Column">The column in that line where it begins, from 1; 0 where it is not written there.</param>
/// <param name="Length">How many characters it has there.</param>
internal readonly record struct ShellWord(string Text, int Line, string? Unknown, int Column = 0, int Length = 0);
