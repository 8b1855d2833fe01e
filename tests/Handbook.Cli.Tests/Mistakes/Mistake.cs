namespace Handbook.Cli.Tests.Mistakes;

/// <summary>One kind of mistake: what is wrong in a run that is otherwise whole, and what mends it.</summary>
/// <param name="Name">What is wrong, in a few words; the title of its part of the golden file.</param>
/// <param name="Break">Spoils the run.</param>
/// <param name="Mend">Does what the message advises.</param>
internal sealed record Mistake(string Name, Action<MistakeFolder> Break, Action<MistakeFolder> Mend)
{
    /// <summary>The command that the recipe is for.</summary>
    public string Method { get; init; } = "sft";

    /// <summary>How long the run goes on that is mended: words behind its command.</summary>
    public IReadOnlyList<string> Steps => Runs ?? (Method == "rejection-sample" ? [] : ["--max_steps=1"]);

    /// <summary>These words, where one step is not what mends it.</summary>
    public string[]? Runs { get; init; }

    /// <summary>Whether <c>validate</c> sees it; otherwise the training command does, at its start.</summary>
    public bool IsSeenByValidate { get; init; } = true;

    /// <summary>The whole command in the place of <c>validate</c> and the training command; null for these.</summary>
    public string? Command { get; init; }

    /// <summary>Whether it is among the few that every run of the tests has.</summary>
    public bool IsQuick { get; init; }

    public override string ToString() => Name;
}
