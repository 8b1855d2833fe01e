using System.Text.Json;
using Handbook.Base;
using Handbook.Data;
using Handbook.Data.Cache;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Training.Rewards;

/// <summary>Turns the rows of a data set into texts to score, ended as reward modelling ends them: conversations by their template, texts
/// by the end token.</summary>
internal sealed class ScoreTokenizer
{
    private const int RowsLookedAt = 64;

    private readonly IRowTokenizer _rows;
    private readonly int? _maxLength;

    /// <param name="source">The rows.</param>
    /// <param name="spec">Its column mapping.</param>
    /// <param name="tokenizer">The reward model's tokenizer.</param>
    /// <param name="maxLength">Longer texts are not scored; null scores all.</param>
    /// <param name="chats">What <see cref="Chats"/> gave for this tokenizer, so that its template is read once for many sources; null reads
    /// it here.</param>
    public ScoreTokenizer(IRowSource source, DatasetSpec spec, Tokenizer tokenizer, int? maxLength, ChatRowEncoder? chats = null)
    {
        _maxLength = maxLength;
        HasPairs = ArePairs(source, spec);
        chats ??= Chats(tokenizer);
        var reader = Reader(source, spec, chats);
        HasChatTemplate = tokenizer.ChatTemplate is not null || reader.Layout is RowLayout.Text or RowLayout.Tokens;
        _rows = HasPairs
            ? new PreferenceTokenizer(reader, tokenizer, chats, new()
            {
                Shape = AnswerShape.Whole,
                End = AnswerEnding.Texts,
                Cut = AnswerCut.LeaveOut,
                MaxLength = maxLength,
                KeepsEqualPairs = true,
                KeepsEmptyAnswers = true
            })
            : new RowTokenizer(reader, tokenizer, chats,
                new() { Loss = LossScope.All, EndToken = tokenizer.EosId is null ? EndTokenRule.Never : EndTokenRule.TextsWithout });
    }

    /// <summary>Renders conversations with a tokenizer's chat template, or the built-in one where it has none.</summary>
    public static ChatRowEncoder Chats(Tokenizer tokenizer) => new(tokenizer, ChatTemplate.Of(tokenizer, "chat_template"));

    /// <summary>Whether rows are pairs of a chosen and a rejected answer.</summary>
    public bool HasPairs { get; }

    /// <summary>False where conversations are rendered with the built-in template because the tokenizer has none.</summary>
    public bool HasChatTemplate { get; }

    /// <summary>Everything that decides the tokens of a row.</summary>
    public string Fingerprint => $"{_rows.Fingerprint} {_maxLength}";

    /// <summary>What to score of a row; null with the reason where it cannot be used.</summary>
    public TokenRow? Tokenize(JsonElement row, out RowProblem? problem)
    {
        if (_rows.Tokenize(row, out problem, out _) is not [var tokens, ..])
            return null;
        if (HasPairs || _maxLength is not { } longest || tokens.TokenCount <= longest)
            return tokens;
        problem = new("longer than max_length", $"{tokens.TokenCount} tokens, max_length is {longest}", "");
        return null;
    }

    private RowReader Reader(IRowSource source, DatasetSpec spec, ChatRowEncoder chats)
    {
        try
        {
            return RowReader.For(source, spec, HasPairs ? RowUse.Preferences : RowUse.FineTuning, keepsToolCalls: chats.RendersToolCalls);
        }
        catch (InputException unknown) when (unknown.Fix?.StartsWith("column_mapping", StringComparison.Ordinal) == true)
        {
            // The fix of a recipe; here columns are named on the command line.
            throw new InputException(unknown.What, unknown.Why,
                "name the columns, e.g. --column prompt=question --column completion=answer", unknown);
        }
    }

    private static bool ArePairs(IRowSource source, DatasetSpec spec)
    {
        var rows = source.Read().Where(row => row.Problem is null).Take(RowsLookedAt).ToArray();
        return Has("chosen") && Has("rejected");

        bool Has(string name) => rows.Any(row => row.Value.TryGetProperty(spec.ColumnMapping?.GetValueOrDefault(name) ?? name, out _));
    }
}
