using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Cache;
using Handbook.Data.Decontamination;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Text.Tokenizers;
using Encoding = System.Text.Encoding;

namespace Handbook.Data.Inspection;

/// <summary>Reads a split once for all that its texts tell, and some of its rows once more for what they are as tokens. Memory does not grow
/// with the rows.</summary>
internal sealed class DataSurveyor
{
    private const int ContaminatedRowsKept = 1000;

    private readonly SurveyRequest _request;
    private readonly IRowSource _source;
    private readonly RowReader? _reader;
    private readonly IRowTokenizer? _tokenizer;
    private readonly string? _layoutProblem;
    private readonly HashSet<string> _unread;
    private readonly Dictionary<string, ColumnTally> _columns = [];
    private readonly Dictionary<string, long> _scripts = [];
    private readonly RowTally _unreadable = new(), _unusable = new();
    private readonly List<LeftOutRow> _contaminated = [];
    private readonly List<int> _starts = [];
    private int _contaminatedCount;

    private DataSurveyor(SurveyRequest request)
    {
        _request = request;
        if (request.Run is { } run)
            try
            {
                (_source, _reader, _tokenizer) = TrainingData.Open(request.Part, run);
            }
            catch (InputException problem) when (problem.What.Contains("columns", StringComparison.Ordinal))
            {
                _layoutProblem = problem.Message;
            }
        _source ??= Dataset.Open(request.Part.Spec, request.RecipeFolder);
        if (_reader is null && _layoutProblem is null)
            (_reader, _layoutProblem) = Guess(_source, request.Part.Spec);
        _unread = _reader?.Unread.ToHashSet() ?? [];
    }

    /// <summary>The survey of a split.</summary>
    /// <param name="progress">Hears how many rows were read.</param>
    /// <exception cref="InputException">The split is not there, or cannot be read at all.</exception>
    public static DataSurvey Of(SurveyRequest request, Action<long>? progress = null, CancellationToken cancel = default) =>
        new DataSurveyor(request).Survey(progress, cancel);

    /// <summary>Reads rows as whatever method would read them: pairs before single answers, texts before prompts alone.</summary>
    internal static (RowReader? Reader, string? Problem) Guess(IRowSource source, DatasetSpec spec)
    {
        InputException? first = null;
        foreach (var use in (ReadOnlySpan<RowUse>)[RowUse.Preferences, RowUse.Unpaired, RowUse.FineTuning, RowUse.Prompts])
            try
            {
                return (RowReader.For(source, spec, use), null);
            }
            catch (InputException problem)
            {
                first = use == RowUse.FineTuning ? problem : first;
            }
        return (null, first!.Message);
    }

    private DataSurvey Survey(Action<long>? progress, CancellationToken cancel)
    {
        var survey = new DataSurvey
        {
            Name = _request.Part.IsTest ? $"{_request.Part.Name} (held out)" : _request.Part.Name,
            Files = _source.Files.Count,
            Bytes = _source.Files.Sum(file => new FileInfo(file).Length),
            Layout = _reader?.Layout.ToString(),
            LayoutProblem = _layoutProblem,
            Unread = _reader?.Unread ?? [],
            Scripts = _scripts,
        };
        var rows = 0L;
        foreach (var row in _source.Read())
        {
            cancel.ThrowIfCancellationRequested();
            if (row.Problem is not null)
            {
                _unreadable.Add(row, [], row.Problem, wasCut: false);
                continue;
            }
            if (++rows % 256 == 0)
                progress?.Invoke(rows);
            Row(survey, row, rows);
        }
        return survey with
        {
            Rows = rows,
            Unreadable = _unreadable.Summary("").Bad,
            Unusable = _unusable.Summary("").Bad,
            Columns = [.. _columns.Values],
            Contamination = _request.Check is not { } check ? null
                : new(check.Against, check.Texts, (int)Math.Min(int.MaxValue, rows), _contaminatedCount, 0, 0, _contaminated),
            Tokens = _tokenizer is null ? null : Tokens(rows, progress, cancel),
        };
    }

    private void Row(DataSurvey survey, SourceRow row, long number)
    {
        foreach (var column in row.Value.EnumerateObject())
        {
            if (!_columns.TryGetValue(column.Name, out var tally))
                _columns[column.Name] = tally = new(column.Name);
            tally.Add(column.Value);
        }
        var texts = RowTexts.Of(row.Value, column => !_unread.Contains(column)).ToArray();
        var all = string.Join('\n', texts.Select(text => text.Text));
        survey.SameRows.Add(Content(row.Value), number);
        survey.NearlySameRows.Add(NormalText.Words(all, _starts), number);
        // who speaks is written in Latin letters whatever is said
        var spoken = texts.Where(text => !RowTexts.IsRole(text.Where)).Select(text => text.Text);
        if (Scripts.Of(string.Join('\n', spoken)) is { } script)
            _scripts[script] = _scripts.GetValueOrDefault(script) + 1;
        if (_request.Check?.Find(RowTexts.AsLearnt(row.Value, column => !_unread.Contains(column), _reader is null ? null : _reader.NameOf)) is { } at)
        {
            _contaminatedCount++;
            if (_contaminated.Count < ContaminatedRowsKept)
                _contaminated.Add(new(_request.Part.Name, _request.Part.IsTest, new(number - 1, row.Place, at.Where, at.Shared)));
        }
        if (_reader is null)
            return;
        var example = _reader.Read(row.Value, out var problem);
        if (example is null || problem is not null)
        {
            _unusable.Add(row, [], problem, wasCut: false);
            return;
        }
        var isFirst = true;
        foreach (var part in RowParts.Of(example))
        {
            if (isFirst && part.Prompt.Length > 0)
            {
                survey.Prompts.Add(part.Prompt.Length);
                survey.SamePrompts.Add(NormalText.Of(part.Prompt), number);
            }
            if (isFirst)
                survey.Turns.Add(part.Turns);
            foreach (var answer in (string?[])[part.Answer, part.Worse])
                if (answer is not null)
                    survey.Answers.Add(answer.Length);
            if (_reader.Layout is RowLayout.Preference or RowLayout.Unpaired)
                survey.Judged.Add(part.Answer, part.Worse, row.Place);
            isFirst = false;
        }
    }

    /// <summary>The columns that are read, as they stand in the file.</summary>
    private byte[] Content(JsonElement row) => Encoding.UTF8.GetBytes(string.Join('\n', row.EnumerateObject()
        .Where(column => !_unread.Contains(column.Name)).Select(column => $"{column.Name} {column.Value.GetRawText()}")));

    private TokenSurvey Tokens(long rows, Action<long>? progress, CancellationToken cancel)
    {
        var every = Math.Max(1, (rows + _request.Sample - 1) / _request.Sample);
        var run = _request.Run!;
        var (tally, lengths) = (new RowTally(), new Measurements());
        var (number, looked, tokens, loss, withoutEnd) = (0L, 0L, 0L, 0L, 0L);
        foreach (var row in _source.Read())
        {
            cancel.ThrowIfCancellationRequested();
            if (row.Problem is not null || number++ % every != 0)
                continue;
            if (++looked % 256 == 0)
                progress?.Invoke(looked);
            var given = _tokenizer!.Tokenize(row.Value, out var problem, out var wasCut);
            tally.Add(row, given, problem, wasCut);
            foreach (var one in given)
            {
                lengths.Add(one.TokenCount);
                tokens += one.TokenCount;
                loss += one.Segments.Sum(part => part.Loss.Length - part.Loss.Span.Count((byte)0));
            }
            withoutEnd += given.Any(one => one.Segments.Any(part => !EndsWell(part, run.Tokenizer))) ? 1 : 0;
        }
        tally.SourceRows = looked;
        return new(looked, tally.Summary(_tokenizer!.Format), tokens, loss, lengths, withoutEnd,
            run.Answers is { } answers ? answers.MaxLength : run.Rows.MaxLength, [.. RowRemarks.Of(_source, _reader!, run)]);
    }

    /// <summary>Whether the last token of a part that carries loss says that the answer is at its end.</summary>
    private static bool EndsWell(TokenSegment part, Tokenizer tokenizer)
    {
        if (part.Role is SegmentRole.Prompt or SegmentRole.Uncut || part.Loss.Span.LastIndexOf((byte)1) is not (>= 0 and var last))
            return true;
        var id = part.Ids.Span[last];
        // Templates may write a line end behind the token.
        return id == tokenizer.EosId || tokenizer.IsSpecial(id) || last > 0 && tokenizer.IsSpecial(part.Ids.Span[last - 1]);
    }
}
