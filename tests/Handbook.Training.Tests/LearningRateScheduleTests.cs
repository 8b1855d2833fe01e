using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Testing;
using Handbook.Training.Schedules;

namespace Handbook.Training.Tests;

public sealed class LearningRateScheduleTests
{
    private static readonly Dictionary<string, object?> s_none = [];

    public static TheoryData<string, int> Tables()
    {
        var data = new TheoryData<string, int>();
        foreach (var file in SharedFiles.Root is not null && Path.Combine(SharedFiles.Root, "golden", "schedules") is var folder
            && Directory.Exists(folder) ? Directory.GetFiles(folder, "*.json").Order() : Enumerable.Empty<string>())
        {
            using var json = JsonDocument.Parse(File.ReadAllText(file));
            for (var i = 0; i < json.RootElement.GetProperty("tables").GetArrayLength(); i++)
                data.Add(Path.GetFileName(file), i);
        }
        if (!data.Any())
            data.Add("none", 0);
        return data;
    }

    // 1e-12 relative: the same formula in doubles, cos and pow from another library
    [Theory, MemberData(nameof(Tables)), Trait("kind", "golden")]
    public void Rates_equal_the_reference_tables(string file, int index)
    {
        using var json = JsonDocument.Parse(File.ReadAllText(SharedFiles.Need("golden", "schedules", file)));
        var table = json.RootElement.GetProperty("tables")[index];
        var kwargs = table.GetProperty("kwargs").EnumerateObject().ToDictionary(p => p.Name, p => p.Value.ValueKind == JsonValueKind.String
            ? p.Value.GetString() : (object?)p.Value.GetDouble());
        var name = table.GetProperty("name").GetString()!;
        if (RecipeNames.Spellings(typeof(SchedulerType)).All(spelling => spelling.Name != name))
            GoldenCase.NotBuilt($"{file} table {index}: schedule {name}");
        var schedule = LearningRateSchedule.Create(name, kwargs,
            table.GetProperty("num_warmup_steps").GetInt32(), table.GetProperty("num_training_steps").GetInt32(),
                table.GetProperty("base_lr").GetDouble());

        var expected = table.GetProperty("lr").EnumerateArray().Select(rate => rate.GetDouble()).ToArray();
        Assert.NotEmpty(expected);
        for (var step = 0; step < expected.Length; step++)
            Assert.True(Math.Abs(schedule.At(step) - expected[step]) <= 1e-12 * Math.Abs(expected[step]),
                $"step {step}: {schedule.At(step):R}, expected {expected[step]:R}");
    }

    [Fact] // by hand: T = 10, W = 2: 0, 1/2, 1, 7/8, …, 0
    public void Linear_rises_over_the_warm_up_and_falls_to_zero()
    {
        var schedule = LearningRateSchedule.Create("linear", s_none, warmup: 2, total: 10, baseRate: 8);
        Assert.Equal([0, 4, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0], Enumerable.Range(0, 12).Select(schedule.At));
    }

    [Fact] // by hand: halfway down a cosine is half the rate; three restarts begin at the full rate again
    public void Cosine_with_restarts_begins_again_at_the_full_rate()
    {
        var schedule = LearningRateSchedule.Create("cosine_with_restarts", new Dictionary<string, object?> { ["num_cycles"] = 3L },
            warmup: 0, total: 12, baseRate: 1);
        Assert.Equal(1, schedule.At(4), 1e-12);
        Assert.Equal(0.5, schedule.At(6), 1e-12);
        Assert.Equal(1, schedule.At(8), 1e-12);
        Assert.Equal(0, schedule.At(12), 1e-12);
    }

    [Fact] // by hand: warm-up 0.2, 0.6, 1 over W = 3; then halfway down after 2 of 4 steps, one step early: ½ (1 + 0.1) at s = 4
    public void Cosine_with_a_warm_up_rate_starts_there()
    {
        var schedule = LearningRateSchedule.Create("cosine_warmup_with_min_lr",
            new Dictionary<string, object?> { ["min_lr_rate"] = 0.1, ["warmup_lr_rate"] = 0.2 }, warmup: 3, total: 7, baseRate: 1);
        Assert.Equal(0.2, schedule.At(0), 1e-12);
        Assert.Equal(0.6, schedule.At(1), 1e-12);
        Assert.Equal(1, schedule.At(2), 1e-12);
        Assert.Equal(0.55, schedule.At(4), 1e-12);
        Assert.Equal(0.1, schedule.At(6), 1e-12);
    }

    [Fact] // by hand: 4 stable steps after 2 of warm-up, then 1 → 0.1 in 4 linear steps
    public void Warmup_stable_decay_holds_and_falls()
    {
        var schedule = LearningRateSchedule.Create("warmup_stable_decay",
            new Dictionary<string, object?> { ["num_decay_steps"] = 4L, ["decay_type"] = "linear", ["min_lr_ratio"] = 0.2 }, warmup: 2,
                total: 10, baseRate: 1);
        double[] expected = [0.2, 0.6, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2];
        for (var step = 0; step < expected.Length; step++)
            Assert.Equal(expected[step], schedule.At(step), 1e-12);
    }

    [Fact] // by hand: patience 1, so the second bad report lowers the rate by factor 0.5; a better one starts the count again
    public void Reduce_on_plateau_lowers_the_rate_after_bad_reports()
    {
        var schedule = Plateau();
        double[] metrics = [1.0, 1.0, 0.9, 0.9, 0.95, 0.95];
        double[] rates = [1.0, 1.0, 1.0, 1.0, 0.5, 0.5];
        for (var i = 0; i < metrics.Length; i++)
        {
            schedule.Report(metrics[i]);
            Assert.Equal(rates[i], schedule.At(i));
        }
    }

    [Fact]
    public void Reduce_on_plateau_goes_on_from_its_state()
    {
        var (whole, first, second) = (Plateau(), Plateau(), Plateau());
        double[] metrics = [1.0, 0.8, 0.9, 0.85, 0.9, 0.7, 0.75, 0.8, 0.9];
        for (var i = 0; i < metrics.Length; i++)
        {
            whole.Report(metrics[i]);
            if (i == 4)
                second.State = first.State;
            (i < 4 ? first : second).Report(metrics[i]);
            if (i < 4)
                continue;
            Assert.Equal(whole.State, second.State);
        }
    }

    [Theory]
    [InlineData("cosine_with_min_lr", "", "lr_scheduler_kwargs lacks min_lr_rate, which cosine_with_min_lr needs")]
    [InlineData("cosine_with_min_lr", "min_lr,min_lr_rate", "lr_scheduler_kwargs has both min_lr and min_lr_rate")]
    [InlineData("warmup_stable_decay", "", "lr_scheduler_kwargs lacks num_decay_steps, which warmup_stable_decay needs")]
    [InlineData("linear", "power", "lr_scheduler_kwargs has power, which linear does not know")]
    [InlineData("zigzag", "", "lr_scheduler_type zigzag is unknown")]
    public void Wrong_parameters_are_told(string type, string names, string message)
    {
        var kwargs = names.Split(',', StringSplitOptions.RemoveEmptyEntries).ToDictionary(name => name, _ => (object?)0.1);
        var problem = Assert.Throws<InputException>(() => LearningRateSchedule.Create(type, kwargs, 0, 10, 1));
        Assert.Equal(message, problem.What);
    }

    private static LearningRateSchedule Plateau() =>
        LearningRateSchedule.Create("reduce_lr_on_plateau", new Dictionary<string, object?> { ["factor"] = 0.5, ["patience"] = 1L }, 0, 100,
            1);
}
