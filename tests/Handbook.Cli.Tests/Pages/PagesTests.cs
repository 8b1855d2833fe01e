using System.Text.Json;
using System.Text.RegularExpressions;
using Deque.AxeCore.Commons;
using Deque.AxeCore.Playwright;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Handbook.Cli.Tests.Pages;

/// <summary>Every page of the dashboard in Chromium, over runs of which one trains meanwhile: what it shows, with the eyes, the keyboard and
/// the ears of those who use it.</summary>
[Trait("speed", "slow")]
public sealed class PagesTests(LivePages live) : IClassFixture<LivePages>
{
    /// <summary>Page, and what is on it when it is whole.</summary>
    public static TheoryData<string, string, string> Pages => new()
    {
        { "runs", "#/", "table tbody tr:nth-child(3)" },
        { "run", "#/run/taught", "figure svg path.curve.s1" },
        { "live", "#/run/live", "figure svg path.curve" },
        { "numbers", "#/run/taught/numbers", "th[scope=row]:text-is('eval_loss')" },
        { "answers", "#/run/taught/samples", "section.row:nth-of-type(12) tr.known" },
        { "rows", "#/run/taught/rows", ".row .loss:text('the sun and the moon')" },
        { "scores", "#/run/taught/rows/0/scores", ".row .carries" },
        { "recipe", "#/run/taught/recipe", "pre .comment" },
        { "card", "#/run/taught/card", "pre:has-text('library_name')" },
        { "lineage", "#/run/taught/lineage", "pre:text('starts')" },
        { "compare", "#/compare/taught,sweep%2Fodd%20%3Cb%3E", "figure svg path.curve.s1" },
        { "playground", "#/playground", "#model-right option:nth-child(3)" },
        { "nothing", "#/run/nothing", "[role=alert]" },
    };

    [Theory]
    [MemberData(nameof(Pages))]
    public async Task A_page_is_whole_asks_nobody_else_and_can_be_read_by_everybody(string name, string place, string whole)
    {
        foreach (var scheme in (ColorScheme[])[ColorScheme.Light, ColorScheme.Dark])
        {
            var (page, faults) = await live.Open(place, scheme);
            await page.WaitForSelectorAsync(whole, new() { State = WaitForSelectorState.Attached });
            var found = await page.RunAxe(new AxeRunOptions { ResultTypes = [ResultType.Violations] });
            Assert.True(found.Violations.Length == 0, $"{place} in {scheme}: " + string.Join("; ", found.Violations.Select(violation =>
                $"{violation.Id}: {violation.Help}: {string.Join(", ", violation.Nodes.Select(node => node.Html))}")));
            if (place.StartsWith("#/run/taught", StringComparison.Ordinal))
                Assert.Equal(1, await page.Locator("[aria-current=page]").CountAsync());
            if (scheme == ColorScheme.Light)
            {
                await LivePages.Picture(page, $"dashboard-{name}");
                // At four times the size, or on a telephone, nothing but tables and code is wider than the window.
                await page.SetViewportSizeAsync(320, 700);
                Assert.Equal(320, await page.EvaluateAsync<int>("document.documentElement.scrollWidth"));
            }
            Assert.DoesNotContain(faults, fault => name != "nothing" || !fault.Contains("404", StringComparison.Ordinal));
            Assert.Equal(0, await page.Locator("b").CountAsync());
            await page.Context.CloseAsync();
        }
    }

    [Fact]
    public async Task A_live_run_goes_on_before_the_eyes_and_leaves_the_focus_where_it_is()
    {
        var (page, faults) = await live.Open("#/run/live");
        var place = page.Locator("dt:text-is('Progress') + dd");
        await Expect(place).ToContainTextAsync("of 100,000");
        await page.Locator("#smoothing").FocusAsync();
        var steps = new HashSet<int>();
        for (var i = 0; i < 300 && steps.Count < 3; i++)
        {
            steps.Add(int.Parse(Regex.Match(await place.InnerTextAsync(), "[0-9,]+").Value, System.Globalization.NumberStyles.AllowThousands,
                System.Globalization.CultureInfo.InvariantCulture));
            await Task.Delay(100, TestContext.Current.CancellationToken);
        }
        Assert.True(steps.Count >= 3, "the page stands still");
        await Expect(page.Locator("#smoothing")).ToBeFocusedAsync();
        await Expect(page.Locator(".pill")).ToHaveTextAsync("training");
        Assert.Empty(faults);
    }

    [Fact]
    public async Task All_of_it_is_done_with_the_keyboard()
    {
        var (page, _) = await live.Open("#/");
        await page.WaitForSelectorAsync("table tbody tr:nth-child(3)");
        // The first stop skips what stands on every page, and the order is that of the page.
        await page.Keyboard.PressAsync("Tab");
        await Expect(page.Locator(".skip")).ToBeFocusedAsync();
        await Expect(page.Locator(".skip")).ToBeInViewportAsync();
        var (last, stops) = (-1.0, 0);
        for (; stops < 30; stops++)
        {
            var stop = await page.EvaluateAsync<JsonElement>("""
                () => { const e = document.activeElement, s = getComputedStyle(e);
                  return { body: e === document.body, y: e.getBoundingClientRect().top + scrollY, ring: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0,
                    name: e.getAttribute('aria-label') ?? e.labels?.[0]?.textContent ?? e.textContent }; }
                """);
            if (stop.GetProperty("body").GetBoolean())
                break;
            Assert.True(stop.GetProperty("ring").GetBoolean(), "the focus cannot be seen");
            Assert.NotEqual("", stop.GetProperty("name").GetString()!.Trim());
            Assert.True(stop.GetProperty("y").GetDouble() >= last - 40, "the focus jumps back");
            last = stop.GetProperty("y").GetDouble();
            await page.Keyboard.PressAsync("Tab");
        }
        Assert.InRange(stops, 9, 29);       // skip, home, playground, filter, then a box and a link for each of three runs

        // Two runs are chosen, found by their name, and compared.
        foreach (var run in (string[])["live", "taught"])
        {
            await page.GetByLabel($"choose {run}", new() { Exact = true }).FocusAsync();
            await page.Keyboard.PressAsync("Space");
        }
        await page.GetByLabel("Find").FocusAsync();
        await page.Keyboard.TypeAsync("taug");
        await Expect(page.Locator("tbody tr")).ToHaveCountAsync(1);
        await Expect(page.GetByLabel("Find")).ToBeFocusedAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "Compare the chosen runs" }).FocusAsync();
        await page.Keyboard.PressAsync("Enter");
        await Expect(page.GetByRole(AriaRole.Heading, new() { Name = "2 runs compared" })).ToBeVisibleAsync();

        await LivePages.Picture(page, "dashboard-two");

        // A curve is read step by step.
        var curve = page.GetByRole(AriaRole.Img, new() { NameRegex = new("^loss: ") });
        await curve.FocusAsync();
        await page.Keyboard.PressAsync("Home");
        var read = page.Locator("figure", new() { Has = page.Locator(":focus") }).Locator("[aria-live]");
        await Expect(read).ToContainTextAsync("step 1 ");
        await page.Keyboard.PressAsync("ArrowRight");
        await Expect(read).ToContainTextAsync("step 2 ");
    }

    [Fact]
    public async Task Answers_are_shown_as_they_change()
    {
        var (page, _) = await live.Open("#/run/taught/samples");
        var first = page.Locator("section.row").First;
        await Expect(first).ToContainTextAsync("one two 0");
        await Expect(first.Locator("tr.known")).ToContainTextAsync("the sun and the moon 0");
        await Expect(first.Locator("tbody tr").First.Locator("th")).ToHaveTextAsync(new Regex("^steps? .*100$"));
        var written = File.ReadAllLines(Path.Combine(live.Handbook.Folder, "runs/taught/samples.jsonl"))
            .Select(line => JsonDocument.Parse(line).RootElement).Last(row => row.GetProperty("prompt").GetString()!.Contains("one two 0<", StringComparison.Ordinal));
        await Expect(first.Locator("tbody tr").First.Locator("td")).ToHaveTextAsync(written.GetProperty("answer").GetString()!.Trim());
    }

    [Fact]
    public async Task What_is_preferred_becomes_rows_that_dpo_trains_on()
    {
        var (page, faults) = await live.Open("#/playground");
        await page.WaitForSelectorAsync("#model-right option:nth-child(3)", new() { State = WaitForSelectorState.Attached });
        await page.GetByLabel("Model A").SelectOptionAsync("taught");
        await page.GetByLabel("Model B").SelectOptionAsync("model");
        await page.GetByLabel("Most tokens").FillAsync("12");
        var file = Path.Combine(live.Handbook.Folder, "runs/playground.jsonl");
        for (var turn = 1; turn <= 2; turn++)
        {
            await page.GetByLabel("What you say").FillAsync($"one two {turn}");
            var status = page.GetByRole(AriaRole.Status).Last;
            for (var tries = 0; tries == 0 || !(await status.TextContentAsync())!.StartsWith("Both have answered", StringComparison.Ordinal); tries++)
            {
                Assert.True(tries < 20, "the models never say different things");      // draws of so small a model may be empty
                await page.GetByLabel("What you say").FocusAsync();
                await page.Keyboard.PressAsync("Control+Enter");
                await Expect(status).ToHaveTextAsync(new Regex("^Both have answered|nothing to choose"));
            }
            var (better, worse) = (await page.Locator("#answer-left").TextContentAsync(), await page.Locator("#answer-right").TextContentAsync());
            if (turn == 1)
            {
                await LivePages.Picture(page, "dashboard-playground-asked");
                Assert.Empty((await page.RunAxe()).Violations);
            }
            await page.GetByRole(AriaRole.Button, new() { Name = "Prefer A" }).FocusAsync();
            await page.Keyboard.PressAsync("Enter");
            await Expect(page.GetByRole(AriaRole.Status).Last).ToContainTextAsync($"Kept as row {turn}");
            await Expect(page.GetByRole(AriaRole.Button, new() { Name = "Prefer A" })).ToBeDisabledAsync();
            var row = JsonDocument.Parse(File.ReadAllLines(file)[turn - 1]).RootElement;
            Assert.Equal((better, worse, "taught", "model"), (row.GetProperty("chosen")[0].GetProperty("content").GetString(),
                row.GetProperty("rejected")[0].GetProperty("content").GetString(), row.GetProperty("chosen_model").GetString(),
                row.GetProperty("rejected_model").GetString()));
            Assert.Equal(2 * turn - 1, row.GetProperty("prompt").GetArrayLength());     // it goes on from the better answer
        }
        Assert.Empty(faults);

        // Other pages are looked at, and nothing is lost.
        await page.GotoAsync($"{live.Address}#/run/taught");
        await page.WaitForSelectorAsync("figure svg");
        await page.GotoAsync($"{live.Address}#/playground");
        await Expect(page.Locator(".turns li")).ToHaveCountAsync(4);

        var outcome = SmallModel.Succeed(live.Handbook.Run("dpo", "recipe.yaml", "--dataset_name=runs/playground.jsonl", "--eval_strategy=no",
            "--generate_during_eval=false", "--max_length=120", "--per_device_train_batch_size=2", "--max_steps=8", "--save_strategy=no", "--output_dir=preferred"));
        Assert.DoesNotContain("left out", outcome.Error);
        var losses = File.ReadAllLines(Path.Combine(live.Handbook.Folder, "preferred/metrics.jsonl"))
            .Select(line => JsonDocument.Parse(line).RootElement).Where(entry => entry.TryGetProperty("loss", out _))
            .Select(entry => entry.GetProperty("loss").GetDouble()).ToArray();
        Assert.Equal(Math.Log(2), losses[0], 0.001);
        Assert.True(losses[^1] < 0.6, $"the loss is {losses[^1]}");
    }
}
