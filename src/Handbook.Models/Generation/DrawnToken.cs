namespace Handbook.Models.Generation;

/// <summary>A token with its log-probability under the model, at temperature 1 and over the whole vocabulary.</summary>
internal readonly record struct TokenScore(int Token, double LogProb);

/// <summary>A token that was drawn.</summary>
/// <param name="LogProb">As <see cref="TokenScore"/> has it, whatever the draw left out.</param>
/// <param name="Likeliest">The likeliest tokens of its place, likeliest first; empty where nobody asked.</param>
internal readonly record struct DrawnToken(int Token, double LogProb, TokenScore[] Likeliest);

/// <summary>Says which tokens may come next in one answer, such as those that keep it valid JSON.</summary>
internal interface ITokenConstraint
{
    /// <summary>Makes the logits of tokens that must not come very small; any thread may call it, one at a time.</summary>
    /// <param name="logits">[V].</param>
    void Mask(Span<float> logits);

    /// <summary>Hears which token came.</summary>
    void Take(int token);

    /// <summary>Whether nothing but an end can come.</summary>
    bool IsComplete { get; }
}
