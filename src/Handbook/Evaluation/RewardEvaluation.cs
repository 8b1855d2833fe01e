using Handbook.Base;
using Handbook.Data.Cache;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models;
using Handbook.Training.Rewards;
using Handbook.Training.Sampling;

namespace Handbook.Evaluation;

/// <summary>How often a reward model scores the better answer of a pair higher.</summary>
internal static class RewardEvaluation
{
    public static TaskResult Run(EvaluationOptions options, EvaluationTask task, IRowSource source, DatasetSpec data, CancellationToken cancel)
    {
        using var model = RewardModel.Open(options.Model, options.Compute, options.Observer.Said, options.MaxTokens, options.Observer);
        var rows = options.Limit is { } most ? new FirstRows(source, most) : source;
        var config = model.Network.Config;
        var longest = config.Positions == PositionKind.Learned ? Math.Min(options.MaxLength ?? int.MaxValue, config.MaxPositions)
            : options.MaxLength;
        var tokenizer = new ScoreTokenizer(rows, data, model.Tokenizer, longest);
        var run = new ScoreRun(model, rows, tokenizer);
        var path = options.Output is null ? null
            : Path.Combine(options.Output, "samples", $"{EvaluationRun.FileName(task.Name)}.jsonl");
        var key = RunState.Hash(string.Join('\n', rows.Identity, options.Limit, tokenizer.Fingerprint, options.Compute, options.MaxTokens,
            string.Join(' ', options.Model.Adapters.Prepend(options.Model.Folder).SelectMany(ModelFolder.Files).Concat(source.Files)
                .Select(CacheFolder.Default.HashOf))));
        using var file = path is null ? null : ScoreFile.Open(path, key, fresh: false);
        var summary = file?.Summary ?? new();
        using (var bar = options.Observer.Began(task.Name, options.Limit, "rows"))
        {
            bar.Report(summary.Rows);
            run.Run(file?.Stream ?? Stream.Null, summary, file is null ? null : file.Keep, count => bar.Advance(count), cancel);
        }
        if (summary.Pairs == 0)
        {
            file?.Discard();
            throw new InputException($"{task.Name}: {data.Id} holds no pair that can be scored"
                + string.Concat(summary.Left.Select(left => $"\n    {left.Value.Count} × {left.Key}, e.g. {left.Value.First}")),
                fix: "name rows with chosen and rejected answers");
        }
        file?.Finish();
        return new(task, checked((int)summary.Pairs), 0, [("acc", "none",
            ConfidenceInterval.Wilson(checked((int)summary.Right), checked((int)summary.Pairs)))],
            [.. summary.Left.Select(left => $"without a score: {left.Value.Count:N0} × {left.Key}, e.g. {left.Value.First}")]);
    }

    private sealed class FirstRows(IRowSource source, int most) : IRowSource
    {
        public string Name => source.Name;

        public IReadOnlyList<string> Files => source.Files;

        public string Identity => source.Identity;

        public double Share => source.Share;

        public IReadOnlyList<string> Remarks => source.Remarks;

        public string PathOf(SourceRow row) => source.PathOf(row);

        public IEnumerable<SourceRow> Read() => source.Read().Take(most);
    }
}
