namespace Handbook.Data.Formats;

/// <summary>The layouts of rows, as their columns tell them.</summary>
public enum RowLayout
{
    /// <summary><c>messages</c>: a list of turns with role and content.</summary>
    Messages,
    /// <summary><c>conversations</c>: a list of turns with from and value (ShareGPT).</summary>
    Conversations,
    /// <summary><c>prompt</c> and <c>completion</c>, both texts or both lists of turns.</summary>
    PromptCompletion,
    /// <summary><c>instruction</c>, <c>input</c>, <c>output</c> (Alpaca), perhaps with <c>system</c> and <c>history</c>.</summary>
    Instruction,
    /// <summary><c>text</c>.</summary>
    Text,
    /// <summary><c>input_ids</c>, perhaps with <c>labels</c>.</summary>
    Tokens,
    /// <summary><c>chosen</c> and <c>rejected</c>, perhaps with <c>prompt</c>, <c>conversations</c>, <c>messages</c> or
    /// <c>instruction</c> before them.</summary>
    Preference,
    /// <summary>An answer with its <c>label</c>: <c>prompt</c> and <c>completion</c>, <c>instruction</c> and <c>output</c>, or a
    /// conversation whose last turn it is.</summary>
    Unpaired,
    /// <summary>What is to be answered: <c>prompt</c>, <c>instruction</c>, or a conversation.</summary>
    Prompt,
}

/// <summary>What rows are read for.</summary>
public enum RowUse
{
    /// <summary>Supervised fine-tuning: conversations, prompts with completions, texts.</summary>
    FineTuning,
    /// <summary>Pretraining: the text column alone.</summary>
    Pretraining,
    /// <summary>Preference methods and reward modelling: chosen and rejected answers.</summary>
    Preferences,
    /// <summary>Methods on answers that are good or bad by themselves; pairs give one of each.</summary>
    Unpaired,
    /// <summary>Sampling: prompts alone.</summary>
    Prompts,
}
