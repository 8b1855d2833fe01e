using System.Text.Json.Nodes;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Training.Sampling;

namespace Handbook.Training;

/// <summary>What the model says to a few held-out prompts at each evaluation, in <c>samples.jsonl</c>: always to the same ones, always what
/// it holds likeliest.</summary>
/// <remarks>A row that is one text has no prompt of its own: what stands before its first answer is taken for it, told by what carries loss or
/// by how the chat template opens an answer, and of a plain text its beginning.</remarks>
internal sealed class EvaluationSamples : IDisposable
{
    /// <summary>Prompts that are answered.</summary>
    public const int MostPrompts = 16;

    /// <summary>Most tokens of a plain text that are a prompt.</summary>
    private const int Beginning = 64;

    private readonly PromptEncoder _words;
    private readonly SamplingOptions _options;
    private readonly int[] _opening;
    private readonly List<(int[] Prompt, JsonObject Known)> _rows = [];
    private RowLog? _log;

    /// <param name="heldOut">Rows of prompts with answers, or of texts.</param>
    /// <param name="words">The model's tokenizer, with what ends an answer.</param>
    /// <param name="maxNewTokens">Most tokens of an answer.</param>
    public EvaluationSamples(ITokenRows heldOut, PromptEncoder words, int maxNewTokens)
    {
        (_words, _opening) = (words, words.AnswerOpening());
        _options = new() { MaxNewTokens = maxNewTokens, Temperature = 0, StopIds = words.StopIds };
        var seen = new HashSet<string>();
        for (var i = 0; i < heldOut.Count && _rows.Count < MostPrompts; i++)
            if (Asked(heldOut.Read(i)) is { } row && seen.Add(string.Join(' ', row.Prompt)))
                _rows.Add(row);
    }

    /// <summary>Opens the file, now that the run folder is this run's alone.</summary>
    /// <param name="folder">The run folder.</param>
    /// <param name="lastStep">The step of the checkpoint that the run goes on from; 0 for a new run.</param>
    public void Open(RunFolder folder, int lastStep) => _log = folder.OpenRows(RunFolder.SamplesName, lastStep == 0 ? 0 : lastStep + 1);

    /// <summary>Asks the model, and adds its answers to the file.</summary>
    /// <param name="step">Steps done.</param>
    public void Write(Decoder model, int step)
    {
        using var gathered = model.Parameters.Traffic?.Apart(keeps: true);
        var answers = new Generator(model).Generate([.. _rows.Select(row => row.Prompt)], _options);
        foreach (var ((prompt, known), answer) in _rows.Zip(answers))
        {
            var line = new JsonObject { ["step"] = step, ["prompt"] = _words.Tokenizer.Decode(prompt), ["answer"] = Text(answer.Tokens) };
            foreach (var (name, text) in known)
                line[name] = text!.DeepClone();
            _log!.Add(line);
        }
    }

    /// <summary>The prompt of a row, and the answers that the row has to it; null where it has no prompt.</summary>
    private (int[] Prompt, JsonObject Known)? Asked(TokenRow row)
    {
        if (row.Segments.FirstOrDefault(segment => segment.Role == SegmentRole.Prompt) is { Ids.Length: > 0 } prompt)
            return (prompt.Ids.ToArray(), new(row.Segments.Where(segment => segment.Role is SegmentRole.Chosen or SegmentRole.Rejected)
                .Select(segment => KeyValuePair.Create<string, JsonNode?>(segment.Role == SegmentRole.Chosen ? "chosen" : "rejected",
                    Text(segment.Ids.Span))).DistinctBy(pair => pair.Key)));
        if (row.Segments.FirstOrDefault(segment => segment.Role == SegmentRole.Row) is not { Ids.Length: > 1 } text)
            return null;
        var start = Answer(text);
        var ids = text.Ids.Span;
        var rest = ids[start..];
        var end = rest.IndexOfAny([.. _words.StopIds]);
        return (ids[..start].ToArray(), new()
        {
            ["reference"] = Text(rest[..Math.Min(end < 0 ? rest.Length : end, _options.MaxNewTokens)]),
        });
    }

    // Where the first answer of a text begins.
    private int Answer(TokenSegment text)
    {
        var learnt = text.Loss.Span[1..].IndexOfAnyExcept((byte)0) + 1;      // nothing predicts the first token
        if (learnt > 1)
            return learnt;
        var ids = text.Ids.Span;
        var at = _opening.Length == 0 ? -1 : ids.IndexOf(_opening);
        return at >= 0 && at + _opening.Length < ids.Length ? at + _opening.Length : Math.Min((ids.Length + 1) / 2, Beginning);
    }

    private string Text(ReadOnlySpan<int> ids) => _words.Tokenizer.Decode(ids, skipSpecialTokens: true);

    public void Dispose() => _log?.Dispose();
}
