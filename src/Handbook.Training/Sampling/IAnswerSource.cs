using Handbook.Models.Generation;

namespace Handbook.Training.Sampling;

/// <summary>A prompt, and which answers of it are wanted.</summary>
/// <param name="Prompt">A text or a conversation.</param>
/// <param name="Streams">One number per answer: the random stream that it is drawn with.</param>
internal sealed record AnswerRequest(Prompt Prompt, IReadOnlyList<long> Streams);

/// <summary>An answer as it came.</summary>
/// <param name="Text">Without the end token and without the text that ended it.</param>
/// <param name="Finished">Whether it ended by itself, not at its greatest length.</param>
/// <param name="Tokens">Its length in tokens; null where that is not known.</param>
/// <param name="LogProb">log p of the whole answer under the model; null where that is not known.</param>
/// <param name="FirstTokens">log p of the likeliest first tokens; null where nobody asked for them, or nobody said.</param>
/// <param name="IsCut">Whether its prompt was longer than it may be, and lost its beginning.</param>
internal sealed record GivenAnswer(string Text, bool Finished, int? Tokens = null, double? LogProb = null,
    IReadOnlyDictionary<string, double>? FirstTokens = null, bool IsCut = false);

/// <summary>What answers prompts: a model in this process, or one on an endpoint.</summary>
internal interface IAnswerSource : IDisposable
{
    /// <summary>What it is, for provenance: a folder, or an address with a model's name.</summary>
    string Name { get; }

    /// <summary>Why a prompt cannot be answered, in a few words by which prompts are counted; null where it can.</summary>
    string? Refuses(Prompt prompt);

    /// <summary>Answers prompts; each answer is told as soon as it is there, in any order but one at a time.</summary>
    /// <param name="requests">Prompts and streams.</param>
    /// <param name="done">Hears (request, place of the stream, answer).</param>
    void Answer(IReadOnlyList<AnswerRequest> requests, Action<int, int, GivenAnswer> done, CancellationToken cancel);
}
