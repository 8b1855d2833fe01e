using System.Text.Encodings.Web;
using System.Text.Json;
using Handbook.Data;
using Handbook.Data.Sources;

namespace Handbook.Training.Rewards;

/// <summary>Scores the rows of a data set and writes each of them with its score, or with the probabilities of a classifier's
/// labels.</summary>
/// <param name="model">The reward model, or a classifier.</param>
/// <param name="source">The rows.</param>
/// <param name="tokenizer">Turns them into texts to score.</param>
internal sealed class ScoreRun(RewardModel model, IRowSource source, ScoreTokenizer tokenizer)
{
    // Rows that are tokenised together, scored together and kept together; an interrupted run goes on at one of their borders, with the
    // same bits.
    private const int ChunkRows = 512;

    private static readonly JsonWriterOptions s_writing = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    // Behind the name of a column: of which answer it tells.
    private static readonly string[] s_pair = ["_chosen", "_rejected"];
    private static readonly string[] s_single = [""];

    private readonly string[] _answers = [.. tokenizer.HasPairs ? s_pair : [], .. tokenizer.HasSingles ? s_single : []];

    private readonly string[] _columns = [.. ((string[])[.. tokenizer.HasPairs ? s_pair : [], .. tokenizer.HasSingles ? s_single : []])
        .SelectMany(answer => (model.Labels?.Columns ?? ["score"]).Select(column => column + answer))];

    /// <summary>Columns of the data that are replaced by scores.</summary>
    public IEnumerable<string> Replaced =>
        source.Read().FirstOrDefault(row => row.Problem is null).Value is { ValueKind: JsonValueKind.Object } row
        ? _columns.Where(column => row.TryGetProperty(column, out _)) : [];

    /// <param name="output">Receives a line of JSON for each row.</param>
    /// <param name="summary">Receives counts; where it has rows already, these are passed over.</param>
    /// <param name="keep">Called at the end of each chunk.</param>
    /// <param name="done">Told how many further rows are done.</param>
    /// <param name="cancel">Stops between batches with an <see cref="OperationCanceledException"/>.</param>
    public void Run(Stream output, ScoreSummary summary, Action? keep = null, Action<int>? done = null, CancellationToken cancel = default)
    {
        foreach (var chunk in source.Read().Skip(checked((int)summary.Rows)).Chunk(ChunkRows))
        {
            var tokens = new TokenRow?[chunk.Length];
            var problems = new RowProblem?[chunk.Length];
            Parallel.For(0, chunk.Length, i => (tokens[i], problems[i]) = Tokenize(chunk[i]));
            var scores = model.Values([.. tokens.OfType<TokenRow>()], cancel: cancel);
            for (int i = 0, next = 0; i < chunk.Length; i++)
            {
                var answers = chunk[i].Problem is null ? Answers(chunk[i].Value) : _answers;
                var own = new double[]?[answers.Length];
                if (tokens[i] is { } row)
                    foreach (var role in ScorePlace.Roles(row))
                    {
                        own[role == SegmentRole.Rejected ? 1 : 0] = model.Labels?.Values(scores[next]) ?? scores[next];
                        next++;
                    }
                Count(summary, chunk[i], problems[i], own);
                if (chunk[i].Value.ValueKind == JsonValueKind.Object)
                    Write(output, chunk[i].Value, answers, own);
            }
            summary.Rows += chunk.Length;
            keep?.Invoke();
            done?.Invoke(chunk.Length);
        }
    }

    private string[] Answers(JsonElement row) => tokenizer.IsPair(row) ? s_pair : s_single;

    private (TokenRow?, RowProblem?) Tokenize(SourceRow row)
    {
        if (row.Problem is not null)
            return (null, row.Problem);
        var tokens = tokenizer.Tokenize(row.Value, out var problem);
        return (tokens, problem);
    }

    private void Count(ScoreSummary summary, SourceRow row, RowProblem? problem, double[]?[] own)
    {
        if (model.Labels is { } labels && own.All(values => values is not null))
            summary.AddLabels(own.SelectMany(values => labels.Chosen(values!)));
        else if (own is [{ } chosen, { } rejected])
            summary.AddPair(chosen[0], rejected[0]);
        else if (own is [{ } score])
            summary.AddSingle(score[0]);
        else if (problem?.Reason != PlainTextFile.BlankLine)
            summary.Leave(problem?.Reason ?? "no text", $"{row.Place}{(problem is { Detail.Length: > 0 } ? $": {problem.Detail}" : "")}");
    }

    /// <summary>The row as it was, with its scores behind; null where there is none.</summary>
    private void Write(Stream output, JsonElement row, string[] answers, double[]?[] own)
    {
        using (var json = new Utf8JsonWriter(output, s_writing))
        {
            json.WriteStartObject();
            foreach (var column in row.EnumerateObject())
                if (!_columns.Contains(column.Name))
                    column.WriteTo(json);
            for (var i = 0; i < own.Length; i++)
                if (model.Labels is { } labels)
                    Write(json, labels, answers[i], own[i]);
                else if (own[i] is { } score)
                    json.WriteNumber("score" + answers[i], (float)score[0]);        // the head's own precision
                else
                    json.WriteNull("score" + answers[i]);
            json.WriteEndObject();
        }
        output.WriteByte((byte)'\n');
    }

    private static void Write(Utf8JsonWriter json, LabelSet labels, string answer, double[]? values)
    {
        foreach (var column in labels.Columns)
        {
            json.WritePropertyName(column + answer);
            if (values is null)
                json.WriteNullValue();
            else if (column == "label")
                json.WriteStringValue(labels.Chosen(values).Single());
            else if (column == "labels")
                JsonSerializer.Serialize(json, labels.Chosen(values).ToArray());
            else
            {
                json.WriteStartObject();
                for (var label = 0; label < values.Length; label++)
                    json.WriteNumber(labels.Names[label], (float)values[label]);
                json.WriteEndObject();
            }
        }
    }
}
