using Handbook.Base;

namespace Handbook.Data.Decontamination;

/// <summary>Reference sets that come with the program, as fingerprints: nothing of what they say is in it.</summary>
internal static class BuiltInReference
{
    /// <summary>The 164 code problems of OpenAI's HumanEval: descriptions and solutions.</summary>
    public const string HumanEval = "human-eval";

    /// <summary>The set that a name like its own means, such as <c>humaneval</c> or <c>openai/openai_humaneval</c>; null for none.</summary>
    public static string? Meant(string name) =>
        string.Concat(name.Where(char.IsLetter)).EndsWith("humaneval", StringComparison.OrdinalIgnoreCase)
            || Spelling.Nearest(name, [HumanEval]) is not null ? HumanEval : null;

    /// <summary>Opens a set by its name; null where no set has it.</summary>
    public static Stream? Open(string name) => name != HumanEval ? null
        : typeof(BuiltInReference).Assembly.GetManifestResourceStream($"{HumanEval}{FingerprintFile.Ending}")
            ?? throw new InvalidOperationException($"the program was built without {HumanEval}");
}
