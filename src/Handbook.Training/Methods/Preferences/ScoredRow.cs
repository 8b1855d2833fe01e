namespace Handbook.Training.Methods.Preferences;

/// <summary>What the networks said about one answer.</summary>
internal sealed record AnswerScore
{
    /// <summary>log π(token) of each answer token, the end token included; [n], n ≥ 1.</summary>
    public required ReadOnlyMemory<double> LogProbs { get; init; }

    /// <summary>
    /// log Σᵥ π(v)² at each place, where <see cref="IPreferenceObjective.NeedsSquares"/>: [n + 1], of which entry i predicts token i and
    /// the last one stands on the answer's last token; otherwise empty.
    /// </summary>
    public ReadOnlyMemory<double> LogSquares { get; init; }

    /// <summary>The reference's <see cref="IPreferenceObjective.Reduce"/> of the same answer; 0 without a reference.</summary>
    public double Reference { get; init; }
}

/// <summary>One row of a preference set with its scores. Pairs have both answers; unpaired rows have one of the two, chosen where it is
/// desirable.</summary>
internal sealed record ScoredRow
{
    /// <summary>Number of the row in its data set.</summary>
    public required int Row { get; init; }

    /// <summary>Tokens of the prompt.</summary>
    public int PromptLength { get; init; }

    public AnswerScore? Chosen { get; init; }

    public AnswerScore? Rejected { get; init; }

    /// <summary>Another row's answer to this prompt; null unless the method asks for it.</summary>
    public AnswerScore? Mismatched { get; init; }

    /// <summary>log π of each prompt token after the first, where the prompt carries loss; otherwise empty.</summary>
    public ReadOnlyMemory<double> PromptLogProbs { get; init; }
}

/// <summary>The derivatives of a group's loss with respect to the log-probabilities of one row; each as long as what it belongs to, empty
/// where all are 0.</summary>
internal sealed record RowGradient
{
    public double[] Chosen { get; init; } = [];

    public double[] Rejected { get; init; } = [];

    public double[] Prompt { get; init; } = [];
}
