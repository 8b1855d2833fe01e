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

    private readonly PreferenceTokenizer? _pairs;
    private readonly RowTokenizer? _singles;
    private readonly Func<string, string> _nameOf;
    private readonly int? _maxLength;

    /// <param name="source">The rows.</param>
    /// <param name="spec">Its column mapping.</param>
    /// <param name="tokenizer">The reward model's tokenizer.</param>
    /// <param name="maxLength">Longer texts are not scored; null scores all.</param>
    /// <param name="chats">What <see cref="Chats"/> gave for this tokenizer, so that its template is read once for many sources; null reads
    /// it here.</param>
    public ScoreTokenizer(IRowSource source, DatasetSpec spec, Tokenizer tokenizer, int? maxLength, ChatRowEncoder? chats = null)
    {
        (_maxLength, _nameOf) = (maxLength, name => spec.ColumnMapping?.GetValueOrDefault(name) ?? name);
        chats ??= Chats(tokenizer);
        var first = source.Read().Where(row => row.Problem is null).Take(RowsLookedAt).Select(row => row.Value).ToArray();
        if (first.Any(HasTwoAnswers))
            _pairs = new PreferenceTokenizer(Reader(new RowsOfKind(source, HasTwoAnswers), spec, RowUse.Preferences, chats), tokenizer, chats,
                new()
                {
                    Shape = AnswerShape.Whole,
                    End = AnswerEnding.Texts,
                    Cut = AnswerCut.LeaveOut,
                    MaxLength = maxLength,
                    KeepsEqualPairs = true,
                    KeepsEmptyAnswers = true
                });
        HasChatTemplate = tokenizer.ChatTemplate is not null;
        if ((_pairs is null || !first.All(HasTwoAnswers)) && Single(source, spec, chats) is { } reader)
        {
            HasChatTemplate |= _pairs is null && reader.Layout is RowLayout.Text or RowLayout.Tokens;
            _singles = new RowTokenizer(reader, tokenizer, chats,
                new() { Loss = LossScope.All, EndToken = tokenizer.EosId is null ? EndTokenRule.Never : EndTokenRule.TextsWithout });
        }
    }

    /// <summary>Renders conversations with a tokenizer's chat template, or the built-in one where it has none.</summary>
    public static ChatRowEncoder Chats(Tokenizer tokenizer) => new(tokenizer, ChatTemplate.Of(tokenizer, "chat_template"));

    /// <summary>Whether there are pairs of a chosen and a rejected answer.</summary>
    public bool HasPairs => _pairs is not null;

    /// <summary>Whether there are answers by themselves.</summary>
    public bool HasSingles => _singles is not null;

    /// <summary>Whether a row is scored as a pair; otherwise it is an answer by itself.</summary>
    public bool IsPair(JsonElement row) => _singles is null || _pairs is not null && HasTwoAnswers(row);

    /// <summary>False where conversations are rendered with the built-in template because the tokenizer has none.</summary>
    public bool HasChatTemplate { get; }

    /// <summary>Everything that decides the tokens of a row.</summary>
    public string Fingerprint => $"{_pairs?.Fingerprint} {_singles?.Fingerprint} {_maxLength}";

    /// <summary>What to score of a row; null with the reason where it cannot be used.</summary>
    public TokenRow? Tokenize(JsonElement row, out RowProblem? problem)
    {
        var isPair = IsPair(row);
        IRowTokenizer rows = isPair ? _pairs! : _singles!;
        if (rows.Tokenize(row, out problem, out _) is not [var tokens, ..])
            return null;
        if (isPair || _maxLength is not { } longest || tokens.TokenCount <= longest)
            return tokens;
        problem = new("longer than max_length", $"{tokens.TokenCount} tokens, max_length is {longest}", "");
        return null;
    }

    /// <summary>Reads answers by themselves; null where rows beside pairs are of no layout, and are told of as broken pairs.</summary>
    private RowReader? Single(IRowSource source, DatasetSpec spec, ChatRowEncoder chats)
    {
        try
        {
            return Reader(_pairs is null ? source : new RowsOfKind(source, row => !HasTwoAnswers(row)), spec, RowUse.FineTuning, chats);
        }
        catch (InputException) when (_pairs is not null)
        {
            return null;
        }
    }

    private static RowReader Reader(IRowSource source, DatasetSpec spec, RowUse use, ChatRowEncoder chats)
    {
        try
        {
            return RowReader.For(source, spec, use, keepsToolCalls: chats.RendersToolCalls);
        }
        catch (InputException unknown) when (unknown.Fix?.StartsWith("column_mapping", StringComparison.Ordinal) == true)
        {
            // The fix of a recipe; here columns are named on the command line.
            throw new InputException(unknown.What, unknown.Why,
                "name the columns, e.g. --column prompt=question --column completion=answer", unknown);
        }
    }

    private bool HasTwoAnswers(JsonElement row) => row.TryGetProperty(_nameOf("chosen"), out _) && row.TryGetProperty(_nameOf("rejected"), out _);

    /// <summary>The rows of a source that are of one kind.</summary>
    private sealed class RowsOfKind(IRowSource source, Func<JsonElement, bool> isOfKind) : IRowSource
    {
        public string Name => source.Name;

        public IReadOnlyList<string> Files => source.Files;

        public string Identity => source.Identity;

        public double Share => source.Share;

        public IEnumerable<SourceRow> Read() => source.Read().Where(row => row.Problem is not null || isOfKind(row.Value));
    }
}
