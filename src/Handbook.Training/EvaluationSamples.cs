using System.Text.Json.Nodes;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Text.Tokenizers;
using Handbook.Training.Sampling;

namespace Handbook.Training;

/// <summary>What the model says to a few held-out prompts at each evaluation, in <c>samples.jsonl</c>: always to the same ones, always what
/// it holds likeliest.</summary>
internal sealed class EvaluationSamples : IDisposable
{
    private const int MostPrompts = 16;

    private readonly Tokenizer _tokenizer;
    private readonly SamplingOptions _options;
    private readonly List<(int[] Prompt, TokenRow Row)> _rows = [];
    private RowLog? _log;

    /// <param name="heldOut">Rows with prompts and answers.</param>
    /// <param name="stopIds">What ends an answer.</param>
    /// <param name="maxNewTokens">Most tokens of an answer.</param>
    public EvaluationSamples(ITokenRows heldOut, Tokenizer tokenizer, IReadOnlyList<int> stopIds, int maxNewTokens)
    {
        _tokenizer = tokenizer;
        _options = new() { MaxNewTokens = maxNewTokens, Temperature = 0, StopIds = stopIds };
        var seen = new HashSet<string>();
        for (var i = 0; i < heldOut.Count && _rows.Count < MostPrompts; i++)
        {
            var row = heldOut.Read(i);
            if (row.Segments.FirstOrDefault(segment => segment.Role == SegmentRole.Prompt) is { Ids.Length: > 0 } prompt
                && seen.Add(string.Join(' ', prompt.Ids.ToArray())))
                _rows.Add((prompt.Ids.ToArray(), row));
        }
    }

    /// <summary>Opens the file, now that the run folder is this run's alone.</summary>
    /// <param name="folder">The run folder.</param>
    /// <param name="lastStep">The step of the checkpoint that the run goes on from; 0 for a new run.</param>
    public void Open(RunFolder folder, int lastStep) => _log = folder.OpenRows("samples.jsonl", lastStep == 0 ? 0 : lastStep + 1);

    /// <summary>Asks the model, and adds its answers to the file.</summary>
    /// <param name="step">Steps done.</param>
    public void Write(Decoder model, int step)
    {
        using var gathered = model.Parameters.Traffic?.Apart(keeps: true);
        var answers = new Generator(model).Generate([.. _rows.Select(row => row.Prompt)], _options);
        foreach (var ((prompt, row), answer) in _rows.Zip(answers))
        {
            var line = new JsonObject { ["step"] = step, ["prompt"] = _tokenizer.Decode(prompt), ["answer"] = Text(answer.Tokens) };
            foreach (var segment in row.Segments)
                if (segment.Role is SegmentRole.Chosen or SegmentRole.Rejected)
                    line[segment.Role == SegmentRole.Chosen ? "chosen" : "rejected"] = Text(segment.Ids.Span);
            _log!.Add(line);
        }
    }

    private string Text(ReadOnlySpan<int> ids) => _tokenizer.Decode(ids, skipSpecialTokens: true);

    public void Dispose() => _log?.Dispose();
}
