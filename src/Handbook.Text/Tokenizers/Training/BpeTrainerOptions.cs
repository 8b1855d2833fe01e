using Handbook.Base;

namespace Handbook.Text.Tokenizers.Training;

/// <summary>How text is cut into words before pairs are counted.</summary>
public enum SplitPattern
{
    /// <summary>GPT-2: letters, digits, other characters and white space apart.</summary>
    Gpt2,
    /// <summary>Llama 3: contractions in any case, at most three digits together.</summary>
    Llama3,
    /// <summary>Qwen 2: as Llama 3, one digit at a time.</summary>
    Qwen2,
}

/// <summary>What a new byte-level tokenizer should be: special tokens, 256 bytes, and merges.</summary>
public sealed record BpeTrainerOptions : TrainerOptions
{
    /// <summary>A pair must occur so often to become a token.</summary>
    public int MinFrequency { get; init; } = 2;

    /// <summary>How text is cut before pairs are counted: no token reaches over a cut.</summary>
    public SplitPattern Pattern { get; init; } = SplitPattern.Gpt2;

    /// <inheritdoc/>
    public override Tokenizer Train(IEnumerable<string> texts) => BpeTrainer.Train(texts, this);

    internal void Validate()
    {
        Validate("bytes", 256);
        RequireFrequency(MinFrequency);
    }

    internal static void RequireFrequency(int frequency)
    {
        if (frequency < 1)
            throw new InputException($"min frequency is {frequency}, but must be at least 1",
                fix: "use 2: a pair seen once teaches nothing");
    }
}
