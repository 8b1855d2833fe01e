using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Text.Tokenizers;
using Handbook.Training;
using Handbook.Training.Plans;
using Handbook.Watching;
using Microsoft.AspNetCore.Http;

namespace Handbook.Server.Dashboard;

/// <summary>What the page asks for: runs and all that stands in their folders, as JSON.</summary>
/// <param name="folder">A run, or a folder of runs; looked at anew at each request.</param>
/// <param name="models">Those that say how likely tokens are.</param>
internal sealed class RunPages(string folder, OpenModels models) : IDisposable
{
    /// <summary>Most points of a curve that are sent: more than a screen has columns.</summary>
    private const int MostPoints = 2000;

    private const int MostRows = 50, MostTokens = 4000;

    private readonly ConcurrentDictionary<string, RunView> _seen = new();
    private readonly Lock _reading = new();
    private (string Run, TrainingData Data, Tokenizer Tokenizer)? _rows;

    /// <summary>Answers a path; null where there is nothing.</summary>
    public JsonNode? Answer(string path, IQueryCollection query)
    {
        if (path == "/api/runs")
            return Runs();
        if (path != "/api/run" || query["id"].ToString() is not { Length: > 0 } id || Place(id) is not { } place)
            return null;
        return query["part"].ToString() switch
        {
            "" => Run(id, place),
            "recipe" => Text(place, "recipe.yaml"),
            "card" => Text(place, "README.md"),
            "lineage" => Text(place, RunInfo.FileName),
            "samples" => Samples(place),
            "rows" => Rows(id, place, Number(query, "from", 0), Number(query, "count", 5), query["scores"] == "1"),
            _ => null,
        };
    }

    /// <summary>The models of the runs, name to folder: what each has saved at its end and at its checkpoints, and what it began with.</summary>
    public IReadOnlyList<(string Name, string Place)> Models()
    {
        var found = new List<(string Name, string Place)>();
        foreach (var run in Find())
        {
            RunView view;
            try
            {
                view = Look(Id(run), run);
            }
            catch (InputException)
            {
                continue;       // the list of runs says why
            }
            if (view.Method == "reward")
                continue;       // it has nothing to say
            if (Directory.EnumerateFiles(run, "*.safetensors").Any())
                found.Add((Id(run), run));
            found.AddRange(view.Checkpoints.OrderDescending().Select(step => ($"{Id(run)}, checkpoint {step}",
                Path.Combine(run, $"checkpoint-{step}"))));
            if (view.Model is { } name && Directory.Exists(name))
                found.Add((name, name));
        }
        return [.. found.DistinctBy(model => model.Name)];
    }

    // A run is known by its place below the folder; only what was found there is read, so that no name leads elsewhere.
    private string? Place(string id) => Find().FirstOrDefault(run => Id(run) == id);

    private string Id(string run) => Path.GetRelativePath(Path.GetFullPath(folder), Path.GetFullPath(run)) is var below && below != "."
        ? below.Replace('\\', '/') : RealPath.NameOf(run);

    private IReadOnlyList<string> Find()
    {
        try
        {
            return RunView.Find(folder);
        }
        catch (InputException) when (Directory.Exists(folder))
        {
            return [];      // none yet
        }
    }

    private JsonObject Runs() => new()
    {
        ["folder"] = folder,
        ["runs"] = new JsonArray([.. Find().Select(run => (JsonNode)Short(Id(run), run))]),
    };

    private JsonObject Short(string id, string place)
    {
        RunView view;
        try
        {
            view = Look(id, place);
        }
        catch (InputException failure)
        {
            return new() { ["id"] = id, ["error"] = failure.Message };
        }
        var json = Head(id, view);
        json["spark"] = Points(view.Series("loss"), 40);
        json["latest"] = new JsonObject(view.Names().Where(name => name is "loss" or "eval_loss" || name.Contains("rewards/", StringComparison.Ordinal)
            || name is "reward" or "accuracy").Select(name => KeyValuePair.Create<string, JsonNode?>(name, Last(view, name))));
        return json;
    }

    private JsonObject Run(string id, string place)
    {
        var view = Look(id, place);
        var json = Head(id, view);
        json["series"] = new JsonObject(view.Names().Select(name =>
            KeyValuePair.Create<string, JsonNode?>(name, Points(view.Series(name), MostPoints))));
        json["checkpoints"] = new JsonArray([.. view.Checkpoints.Select(step => (JsonNode)step)]);
        return json;
    }

    private RunView Look(string id, string place)
    {
        var view = RunView.Read(place).Since(_seen.GetValueOrDefault(id));
        return _seen[id] = view;
    }

    private static JsonObject Head(string id, RunView view) => new()
    {
        ["id"] = id,
        ["method"] = view.Method,
        ["model"] = view.Model,
        ["standing"] = view.Standing.ToString().ToLowerInvariant(),
        ["step"] = view.Step,
        ["steps"] = view.Steps,
        ["epoch"] = view.Logged.Count > 0 && view.Logged[^1].Number("epoch") is { } epoch ? epoch : null,
        ["stepsPerSecond"] = view.StepsPerSecond,
        ["tokensPerSecond"] = view.TokensPerSecond,
        ["secondsLeft"] = view.Left?.TotalSeconds,
        ["started"] = view.Started?.ToString("O", CultureInfo.InvariantCulture),
        ["last"] = view.Last?.ToString("O", CultureInfo.InvariantCulture),
    };

    private static JsonNode? Last(RunView view, string name) => view.Series(name) is [.., var last] ? last.Value : null;

    // Of many points the mean of as many neighbours as it takes, at the step of the last of them.
    private static JsonArray Points(IReadOnlyList<(double Step, double Value)> series, int most)
    {
        var share = Math.Max(1, (series.Count + most - 1) / most);
        return [.. series.Chunk(share).Select(chunk => (JsonNode)new JsonArray(chunk[^1].Step, chunk.Average(point => point.Value)))];
    }

    private static JsonObject Samples(string place) => new()
    {
        ["prompts"] = new JsonArray([.. RunSamples.Read(place).Select(prompt => (JsonNode)new JsonObject
        {
            ["prompt"] = prompt.Prompt,
            ["known"] = new JsonObject(prompt.Known.Select(pair => KeyValuePair.Create<string, JsonNode?>(pair.Key, pair.Value))),
            ["answers"] = new JsonArray([.. prompt.Answers.Select(answer => (JsonNode)new JsonObject
            {
                ["first"] = answer.First,
                ["last"] = answer.Last,
                ["text"] = answer.Text,
                ["reward"] = answer.Reward,
            })]),
        })]),
    };

    private static JsonObject? Text(string place, string name) => File.Exists(Path.Combine(place, name))
        ? new() { ["name"] = name, ["text"] = File.ReadAllText(Path.Combine(place, name)) } : null;

    /// <summary>Rows as the model sees them: runs of text, and whether they carry loss; or every token with its log-probability under the
    /// model that the run saved.</summary>
    private JsonObject Rows(string id, string place, int from, int count, bool scored)
    {
        lock (_reading)
        {
            if (_rows?.Run != id)
            {
                _rows?.Data.Dispose();
                _rows = null;
                var (data, tokenizer) = Open(place);
                _rows = (id, data, tokenizer);
            }
            var (rows, words) = (_rows!.Value.Data.Train, _rows.Value.Tokenizer);
            from = Math.Clamp(from, 0, Math.Max(0, rows.Count - 1));
            using var lease = scored ? models.Take(place, CancellationToken.None).GetAwaiter().GetResult() : null;
            return new()
            {
                ["from"] = from,
                ["total"] = rows.Count,
                ["rows"] = new JsonArray([.. Enumerable.Range(from, Math.Min(Math.Clamp(count, 1, MostRows), rows.Count - from))
                    .Select(i => (JsonNode)(lease is null ? Row(rows.Read(i), words) : Scored(rows.Read(i), words, lease)))]),
            };
        }
    }

    private static JsonObject Scored(TokenRow row, Tokenizer tokenizer, OpenModels.Lease lease)
    {
        if (row.TokenCount > MostTokens)
            throw new InputException($"the row has {row.TokenCount:N0} tokens, and at most {MostTokens:N0} are scored here",
                fix: "score it with handbook evaluate --task perplexity");
        var scores = lease.Engine.Run(() => RowScores.Of(lease.Model.Network, row)).GetAwaiter().GetResult();
        var parts = new JsonArray();
        for (var s = 0; s < row.Segments.Count; s++)
        {
            var (decoder, segment) = (tokenizer.CreateStreamDecoder(skipSpecialTokens: false), row.Segments[s]);
            for (var i = 0; i < segment.Ids.Length; i++)
                parts.Add(new JsonObject
                {
                    ["segment"] = s,
                    ["role"] = segment.Role.ToString().ToLowerInvariant(),
                    ["loss"] = segment.Loss.Span[i] != 0 && (i > 0 || segment.Parent >= 0),
                    // A character of several tokens stands with the last of them.
                    ["text"] = decoder.Append(segment.Ids.Span[i]) + (i == segment.Ids.Length - 1 ? decoder.Flush() : ""),
                    ["tokens"] = 1,
                    ["logprob"] = double.IsFinite(scores[s][i]) ? scores[s][i] : null,
                });
        }
        return new() { ["tokens"] = row.TokenCount, ["cut"] = 0, ["parts"] = parts };
    }

    public void Dispose()
    {
        lock (_reading)
        {
            _rows?.Data.Dispose();
        }
    }

    private static JsonObject Row(TokenRow row, Tokenizer tokenizer) => new()
    {
        ["tokens"] = row.TokenCount,
        ["cut"] = Math.Max(0, row.TokenCount - MostTokens),
        ["parts"] = new JsonArray([.. RowText.Runs(row, tokenizer, MostTokens).Select(run => (JsonNode)new JsonObject
        {
            ["segment"] = run.Segment,
            ["role"] = row.Segments[run.Segment].Role.ToString().ToLowerInvariant(),
            ["loss"] = run.CarriesLoss,
            ["text"] = run.Text,
            ["tokens"] = run.Tokens,
        })]),
    };

    private static (TrainingData Data, Tokenizer Tokenizer) Open(string place)
    {
        var file = Path.Combine(place, "recipe.yaml");
        if (!File.Exists(file))
            throw new InputException($"{file} is not there", fix: "a run writes it as soon as its data is read");
        var recipe = Recipe.Load(file);
        var options = RowPlan.Options(recipe, RowPlan.LoadTokenizer(recipe));
        return (TrainingData.Load(options with { MaxBadRows = 1 }, null, CancellationToken.None), options.Tokenizer);
    }

    private static int Number(IQueryCollection query, string name, int otherwise) =>
        int.TryParse(query[name].ToString(), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : otherwise;
}
