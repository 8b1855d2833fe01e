namespace Handbook.Data.Tokenizing;

/// <summary>What becomes of a row with answers.</summary>
public enum AnswerShape
{
    /// <summary>One row: the prompt with its chosen and its rejected answer.</summary>
    Pair,
    /// <summary>A row for each answer.</summary>
    Single,
    /// <summary>One row of two whole texts, of which each is scored at its end; the prompt is what they share.</summary>
    Whole,
    /// <summary>The prompt alone.</summary>
    Prompt,
}

/// <summary>How prompt and answer become tokens.</summary>
public enum AnswerEncoding
{
    /// <summary>Each by itself, without the tokenizer's special tokens.</summary>
    Separate,
    /// <summary>As one text, with the tokenizer's special tokens in front of plain texts; the answer begins after as many tokens as
    /// the prompt alone has.</summary>
    Whole,
    /// <summary>As one text, without special tokens; the answer begins with the first token that the prompt alone does not have.</summary>
    Joint,
    /// <summary>As one text, without special tokens; the answer begins where the prompt's tokens end by their number, one
    /// earlier where they differ.</summary>
    JointByLength,
    /// <summary>As <see cref="Whole"/>, but the prompt keeps the tokens that it has alone, also where the whole
    /// text begins with others.</summary>
    Tail,
}

/// <summary>How answers end.</summary>
public enum AnswerEnding
{
    /// <summary>With exactly one end token: the template's own where it has one, without the blanks behind
    /// it; else the tokenizer's.</summary>
    Once,
    /// <summary>With the tokenizer's end token behind all that the answer has.</summary>
    Always,
    /// <summary>With the tokenizer's end token, unless it is the last token already.</summary>
    IfMissing,
    /// <summary>Plain texts as <see cref="IfMissing"/> by their last characters; conversations as the template ends them.</summary>
    Texts,
}

/// <summary>How rows that are too long become shorter.</summary>
public enum AnswerCut
{
    /// <summary>The whole at one end.</summary>
    Sequence,
    /// <summary>Where prompt and longest answer are too long: the prompt to its limit; if they still are, the answers to
    /// the rest of the length.</summary>
    LongestAnswer,
    /// <summary>As <see cref="LongestAnswer"/> for each answer by itself, before begin and end tokens are added,
    /// for which room is left.</summary>
    BeforeSpecialTokens,
    /// <summary>Where prompt and longest answer are too long: the answers to the length less that of the longest answer.</summary>
    LengthLessLongest,
    /// <summary>Where prompt and answer are too long: the answer to the length less that of the prompt, before begin and
    /// end tokens are added.</summary>
    AnswerOnly,
    /// <summary>Not at all: such rows are left out.</summary>
    LeaveOut,
}

/// <summary>How rows with answers become tokens.</summary>
public sealed record PreferenceTokenizerOptions
{
    /// <summary>What a row gives: a pair, single answers, whole texts, or the prompt alone.</summary>
    public AnswerShape Shape { get; init; }

    /// <summary>Where the border of prompt and answer lies among the tokens.</summary>
    public AnswerEncoding Encoding { get; init; }

    /// <summary>Puts the tokenizer's begin token before prompts that begin without it.</summary>
    public bool AddsBegin { get; init; }

    /// <summary>How answers end.</summary>
    public AnswerEnding End { get; init; }

    /// <summary>What is cut off rows that are too long.</summary>
    public AnswerCut Cut { get; init; }

    /// <summary>Where an end is cut off: keeps the end, not the start.</summary>
    public bool KeepsEnd { get; init; }

    /// <summary>Keeps the begin token where the beginning of a prompt is cut off.</summary>
    public bool KeepsBegin { get; init; } = true;

    /// <summary>Most tokens of prompt and answer; null cuts nothing.</summary>
    public int? MaxLength { get; init; }

    /// <summary>Most tokens of a prompt, which loses its beginning; with <see cref="AnswerCut.LongestAnswer"/> and
    /// <see cref="AnswerCut.BeforeSpecialTokens"/> only where the whole is too long. null cuts none.</summary>
    public int? MaxPromptLength { get; init; }

    /// <summary>Most tokens of an answer; null cuts none.</summary>
    public int? MaxCompletionLength { get; init; }

    /// <summary>Leaves out rows whose prompt has this many tokens or more; null leaves out none.</summary>
    public int? PromptLimit { get; init; }

    /// <summary>Lets the prompt's tokens carry loss, once.</summary>
    public bool PromptsCarryLoss { get; init; }

    /// <summary>Keeps a single answer uncut beside the cut one, so that it can stand behind another prompt.</summary>
    public bool KeepsUncut { get; init; }

    /// <summary>Keeps pairs whose answers are the same.</summary>
    public bool KeepsEqualPairs { get; init; }

    /// <summary>Keeps answers that say nothing, of which only the end is learnt.</summary>
    public bool KeepsEmptyAnswers { get; init; }

    /// <summary>Renders prompt and answers one by one, so that the opening of an answer belongs to it; where a template does not allow
    /// that, by difference.</summary>
    public bool RendersParts { get; init; }

    /// <summary>Opens an answer behind every prompt, also behind one that ends with the assistant's turn.</summary>
    public bool AlwaysOpensAnswer { get; init; }

    /// <summary>Puts an empty system turn before prompts that begin without one.</summary>
    public bool InsertEmptySystemTurn { get; init; }

    /// <summary>Tools that prompts are rendered with where their rows name none, as JSON; null for none.</summary>
    public string? Tools { get; init; }

    /// <summary>Whether a row that is too long loses its whole answer, and with it its place: the limit of its prompt
    /// leaves the answer no token.</summary>
    internal bool LeavesOutLongRows() => Cut switch
    {
        AnswerCut.LongestAnswer => MaxLength <= MaxPromptLength,
        AnswerCut.BeforeSpecialTokens => MaxLength - 2 <= MaxPromptLength,      // room for a begin and an end token
        _ => false,
    };
}
