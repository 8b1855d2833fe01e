using System.Text;
using Handbook.Base.Progress;
using Handbook.Hub;
using Handbook.Recipes;
using Handbook.Testing.Hub;
using Handbook.Tests.Recipes;

namespace Handbook.Tests.Hub;

/// <summary>Publishing beside a run: the run calls, and never waits.</summary>
[Collection("hub")]
public sealed class HubPublisherTests : IDisposable
{
    private readonly HubCase _case = new();
    private readonly Heard _heard = new();
    private readonly ManualResetEventSlim _gate = new();

    public void Dispose()
    {
        _gate.Set();
        _case.Dispose();
        _gate.Dispose();
    }

    private StandInRepository There => _case.Hub.Repositories["models/tester/out"];

    private IEnumerable<string> Summaries => There.Log.Select(entry => entry.Summary);

    private HubPublisher Begin(string keys = "", HubSettings? settings = null)
    {
        var output = _case["out"];
        Directory.CreateDirectory(output);
        return HubPublisher.Begin(RecipeFile.Load(RecipeFile.Good + $"output_dir: {output}\npush_to_hub: true\n{keys}"), _heard, settings
            ?? _case.Writing)!;
    }

    /// <summary>What a save leaves behind.</summary>
    private string Checkpoint(int step)
    {
        var folder = _case["out", $"checkpoint-{step}"];
        Directory.CreateDirectory(folder);
        foreach (var file in (string[])["model.safetensors", "config.json", "optimizer.safetensors", "trainer_state.json"])
            File.WriteAllText(Path.Combine(folder, file), $"{file} of {step}");
        return folder;
    }

    private void HoldBack() => _case.Hub.Fault("POST", "/preupload/", _ =>
    {
        _gate.Wait();
        return false;
    });

    [Fact]
    public void Saves_that_a_later_one_has_overtaken_are_left_out()
    {
        HoldBack();
        using var publisher = Begin();
        publisher.Saved(Checkpoint(1));
        Assert.True(SpinWait.SpinUntil(() => _case.Hub.Requests.Any(request => request.Path.Contains("/preupload/",
            StringComparison.Ordinal)),
            TimeSpan.FromSeconds(20)));
        foreach (var step in (int[])[2, 3, 4])
        {
            publisher.Saved(Checkpoint(step));
            // save_total_limit has removed it long before it is sent
            Directory.Delete(_case["out", $"checkpoint-{step}"], recursive: true);
        }
        Assert.Empty(There.Log);
        _gate.Set();
        Assert.True(SpinWait.SpinUntil(() => There.Log.Count == 2, TimeSpan.FromSeconds(20)));
        Assert.Equal(["Training in progress, step 1", "Training in progress, step 4"], Summaries);
        Assert.Equal(["config.json", "model.safetensors"], There.Files().Keys);
        Assert.Equal("model.safetensors of 4", Encoding.UTF8.GetString(There.Files()["model.safetensors"]));
    }

    [Fact]
    public void All_saves_are_published_where_that_is_wished()
    {
        HoldBack();
        using var publisher = Begin("hub_always_push: true\n");
        for (var step = 1; step <= 4; step++)
            publisher.Saved(Checkpoint(step));
        _gate.Set();
        publisher.End(TestContext.Current.CancellationToken);
        Assert.Equal([.. Enumerable.Range(1, 4).Select(step => $"Training in progress, step {step}")], Summaries);
        // the folder itself is empty
        Assert.Contains($"published at {_case.Hub.Address}/tester/out", _heard.Lines);
    }

    [Fact]
    public void The_last_checkpoint_takes_the_place_of_the_one_before()
    {
        using var publisher = Begin("hub_strategy: checkpoint\nhub_always_push: true\n");
        File.WriteAllText(Path.Combine(Checkpoint(1), "only-of-1.txt"), "x");
        publisher.Saved(_case["out", "checkpoint-1"]);
        publisher.Saved(Checkpoint(2));
        publisher.End(TestContext.Current.CancellationToken);
        Assert.DoesNotContain("last-checkpoint/only-of-1.txt", There.Files().Keys);
        Assert.Equal("optimizer.safetensors of 2", Encoding.UTF8.GetString(There.Files()["last-checkpoint/optimizer.safetensors"]));
    }

    [Fact]
    public void Weights_of_another_number_of_files_are_removed()
    {
        using var publisher = Begin();
        var shards = Checkpoint(1);
        File.Move(Path.Combine(shards, "model.safetensors"), Path.Combine(shards, "model-00001-of-00002.safetensors"));
        File.WriteAllText(Path.Combine(shards, "model-00002-of-00002.safetensors"), "second");
        publisher.Saved(shards);
        Assert.True(SpinWait.SpinUntil(() => _case.Hub.Repositories.ContainsKey("models/tester/out") && There.Log.Count == 1,
            TimeSpan.FromSeconds(20)));
        publisher.Saved(Checkpoint(2));
        Assert.True(SpinWait.SpinUntil(() => There.Log.Count == 2, TimeSpan.FromSeconds(20)));
        Assert.Equal(["config.json", "model.safetensors"], There.Files().Keys);
    }

    [Fact]
    public void A_hub_that_is_away_at_the_start_and_comes_back_gets_what_is_saved_then()
    {
        _case.Hub.Fail("GET", "/api/whoami-v2", 503, times: 1);
        using var publisher = Begin("hub_model_id: out\n");
        Assert.Contains(_heard.Lines, line => line.StartsWith("warning: push_to_hub: 127.0.0.1 fails (503)", StringComparison.Ordinal)
            && line.Contains("the run goes on", StringComparison.Ordinal));
        publisher.Saved(Checkpoint(1));
        Assert.True(SpinWait.SpinUntil(() => _case.Hub.Repositories.ContainsKey("models/tester/out") && There.Log.Count == 1,
            TimeSpan.FromSeconds(20)));
    }

    [Fact]
    public void A_save_that_was_not_published_is_told_and_the_end_publishes_what_counts()
    {
        using var publisher = Begin();
        _case.Hub.Fail("POST", "/commit/", 403, 1);
        publisher.Saved(Checkpoint(1));
        Assert.True(SpinWait.SpinUntil(() => _heard.Lines.Any(line => line.Contains("\"Training in progress, step 1\" was not published",
            StringComparison.Ordinal)),
            TimeSpan.FromSeconds(20)));
        File.WriteAllText(_case["out", "config.json"], "the end");
        publisher.End(TestContext.Current.CancellationToken);
        Assert.Equal(["End of training"], Summaries);
        Assert.DoesNotContain(_heard.Lines, line => line.Contains("not everything", StringComparison.Ordinal));
    }

    [Fact]
    public void Whoever_stops_waiting_is_told_the_command_that_does_it_later()
    {
        HoldBack();
        using var publisher = Begin("hub_private_repo: true\nhub_revision: v2\n");
        using var stop = new CancellationTokenSource(TimeSpan.FromMilliseconds(300));
        File.WriteAllText(_case["out", "config.json"], "the end");
        publisher.End(stop.Token);
        Assert.Contains($"warning: push_to_hub: not everything was published\n  fix: handbook upload {_case["out"]} tester/out --revision v2 --private",
            _heard.Lines);
    }

    [Fact]
    public void A_token_for_reading_alone_or_none_is_told_of_at_once()
    {
        _case.Hub.Role = "read";
        using (var reading = Begin())
            reading.Saved(Checkpoint(1));
        using (var none = Begin("push_to_hub_organization: org\n", _case.Settings))
            none.End(TestContext.Current.CancellationToken);
        Assert.Contains(_heard.Lines, line => line.Contains("the token of a test is for reading alone", StringComparison.Ordinal));
        Assert.Contains($"push_to_hub: nothing was published; this does it: handbook upload {_case["out"]} org/out", _heard.Lines);
        Assert.Equal(["/api/whoami-v2"], _case.Hub.Requests.Select(request => request.Path));
    }

    private sealed class Heard : IWorkObserver
    {
        private readonly List<string> _lines = [];

        public IReadOnlyList<string> Lines
        {
            get
            {
                lock (_lines)
                    return [.. _lines];
            }
        }

        public void Said(string text)
        {
            lock (_lines)
                _lines.Add(text);
        }
    }
}
