using System.Diagnostics;
using System.Text.Json;
using Microsoft.Playwright;

namespace Handbook.Cli.Tests.Pages;

/// <summary><c>handbook dashboard</c> over three runs, one of which trains while the pages are looked at, and the browser of the machine.</summary>
public sealed class LivePages : IAsyncLifetime
{
    private IPlaywright? _playwright;
    private Process? _training, _dashboard;

    /// <summary>Why nothing can be looked at; null where it can.</summary>
    public string? Missing { get; private set; }

    internal HandbookProcess Handbook { get; } = new();

    internal IBrowser Browser { get; private set; } = null!;

    internal Uri Address { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        var program = ((string[])["chromium", "chromium-browser", "google-chrome"])
            .SelectMany(name => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Select(folder => Path.Combine(folder, name)))
            .FirstOrDefault(File.Exists);
        if (program is null)
        {
            Missing = "no Chromium is installed: apt-get install chromium";
            return;
        }
        Assertions.SetDefaultExpectTimeout(60_000);     // the live run takes what the machine has
        _playwright = await Playwright.CreateAsync();
        Browser = await _playwright.Chromium.LaunchAsync(new() { ExecutablePath = program, Args = ["--no-sandbox", "--disable-gpu"] });
        SmallModel.Make(Handbook);
        foreach (var (split, count) in (ReadOnlySpan<(string, int)>)[("train", 64), ("test", 12)])
            Handbook.Write($"chats/{split}.jsonl", string.Concat(Enumerable.Range(0, count).Select(i => JsonSerializer.Serialize(new
            {
                messages = new object[] { new { role = "user", content = $"one two {i}" }, new { role = "assistant", content = $"the sun and the moon {i}" } },
            }) + "\n")));
        Handbook.Write("recipe.yaml", """
            model_name_or_path: model
            dataset_name: chats
            learning_rate: 1e-2  # high, so that it soon says something
            per_device_train_batch_size: 8
            logging_steps: 1
            eval_strategy: steps
            eval_steps: 10
            save_strategy: steps
            save_steps: 20
            save_total_limit: 1
            generate_during_eval: true
            max_length: 64
            report_to: none
            """);
        SmallModel.Succeed(Handbook.Run("sft", "recipe.yaml", "--max_steps=100", "--eval_steps=25", "--save_steps=50", "--output_dir=runs/taught"));
        // A name is a text, whatever is in it.
        Directory.CreateDirectory(Path.Combine(Handbook.Folder, "runs/sweep"));
        Copy(Path.Combine(Handbook.Folder, "runs/taught"), Path.Combine(Handbook.Folder, "runs/sweep/odd <b>"));
        _training = Start(["sft", "recipe.yaml", "--max_steps=100000", "--save_strategy=no", "--eval_steps=500", "--output_dir=runs/live"]);
        _training.PriorityClass = ProcessPriorityClass.Idle;
        _dashboard = Start(["dashboard", "runs", "--model", "model", "--port", "0"], reads: false);
        var line = await _dashboard.StandardOutput.ReadLineAsync() ?? throw new InvalidOperationException("the dashboard does not begin");
        Address = new Uri(line.Split(' ')[1]);
        for (var wait = Stopwatch.StartNew(); !File.Exists(Path.Combine(Handbook.Folder, "runs/live/metrics.jsonl")); await Task.Delay(100))
            if (_training.HasExited || wait.Elapsed > TimeSpan.FromMinutes(2))
                throw new InvalidOperationException("the live run does not begin");
    }

    /// <summary>A page of its own, and what goes wrong in it.</summary>
    internal async Task<(IPage Page, List<string> Faults)> Open(string place, ColorScheme scheme = ColorScheme.Light, int width = 1200, int height = 760)
    {
        Assert.SkipWhen(Missing is not null, Missing ?? "");
        var context = await Browser.NewContextAsync(new() { ColorScheme = scheme, ViewportSize = new() { Width = width, Height = height } });
        var (page, faults) = (await context.NewPageAsync(), new List<string>());
        page.SetDefaultTimeout(60_000);
        page.Console += (_, message) =>
        {
            if (message.Type is "error" or "warning")
                faults.Add(message.Text);
        };
        page.PageError += (_, error) => faults.Add(error);
        page.Request += (_, request) =>
        {
            if (!request.Url.StartsWith(Address.ToString(), StringComparison.Ordinal) && !request.Url.StartsWith("data:", StringComparison.Ordinal))
                faults.Add($"it asks {request.Url}");
        };
        await page.GotoAsync($"{Address}{place}");
        return (page, faults);
    }

    /// <summary>Keeps a picture where HANDBOOK_PICTURES names a folder: those in the documents are made so.</summary>
    internal static async Task Picture(IPage page, string name)
    {
        if (Environment.GetEnvironmentVariable("HANDBOOK_PICTURES") is { Length: > 0 } folder)
            await page.ScreenshotAsync(new() { Path = Path.Combine(folder, $"{name}.png") });
    }

    private Process Start(string[] words, bool reads = true)
    {
        var process = Handbook.Start(words);
        process.ErrorDataReceived += (_, _) => { };
        process.BeginErrorReadLine();
        if (reads)
        {
            process.OutputDataReceived += (_, _) => { };
            process.BeginOutputReadLine();
        }
        return process;
    }

    private static void Copy(string from, string to)
    {
        foreach (var folder in Directory.EnumerateDirectories(from, "*", SearchOption.AllDirectories).Prepend(from))
        {
            Directory.CreateDirectory(Path.Combine(to, Path.GetRelativePath(from, folder)));
            foreach (var file in Directory.EnumerateFiles(folder))
                File.Copy(file, Path.Combine(to, Path.GetRelativePath(from, file)));
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (Browser is not null)
            await Browser.CloseAsync();
        _playwright?.Dispose();
        foreach (var process in new[] { _dashboard, _training })
            if (process is not null)
            {
                process.Kill(entireProcessTree: true);
                await process.WaitForExitAsync();
                process.Dispose();
            }
        Handbook.Dispose();
    }
}
