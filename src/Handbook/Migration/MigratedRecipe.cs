using Handbook.Base;
using Handbook.Training.Methods;

namespace Handbook.Migration;

/// <summary>A recipe that was made from the settings of another trainer.</summary>
internal sealed record MigratedRecipe
{
    /// <summary>What it trains.</summary>
    public required TrainingMethod Method { get; init; }

    /// <summary>The recipe, with a comment for what changed its meaning and for what it could not take.</summary>
    public required string Text { get; init; }

    /// <summary>How many keys it has.</summary>
    public required int Keys { get; init; }

    /// <summary>How many settings it could not take, each told at its end.</summary>
    public required int Left { get; init; }

    /// <summary>The setting that a key was taken from; null where it came of something else.</summary>
    public required Func<string, ForeignKey?> Origin { get; init; }

    /// <summary>Settings that cannot be read, or that nothing here is for; nothing is written where there are any.</summary>
    public required Diagnostics Problems { get; init; }

    /// <summary>Keys of ours whose settings are among <see cref="Problems"/>: what a recipe without them says is not told.</summary>
    public required IReadOnlySet<string> Unread { get; init; }

    /// <summary>Keys that the recipe needs and that nothing in the settings gives: the user fills them in.</summary>
    public required IReadOnlyCollection<string> Open { get; init; }

    /// <summary>The lines of other trainings in the same script.</summary>
    public IReadOnlyList<int> Others { get; init; } = [];
}
