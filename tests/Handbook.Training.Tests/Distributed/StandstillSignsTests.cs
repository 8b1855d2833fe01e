using Handbook.Training.Distributed;

namespace Handbook.Training.Tests.Distributed;

/// <summary>What signs of life say of ranks that are all alive; rank 1 looks at rank 0.</summary>
public sealed class StandstillSignsTests
{
    private static readonly JobWatchOptions s_options = new()
    {
        Beat = TimeSpan.FromMilliseconds(1),
        Standstill = TimeSpan.FromMilliseconds(2.5),
        Timeout = TimeSpan.FromMilliseconds(5.5),
    };

    private static readonly LifeSign s_waits = new(1, 4, 0, false, "all others", new("step 2", true));

    [Theory] // after one look to begin with, a beat each until the limit is reached
    [InlineData(true, false, 3, "it has done nothing for 0 s while others wait for it: it is at step 2 (operation 4)")]
    [InlineData(false, false, 6, "it has done nothing for 0 s while others wait for it: it is at step 2 (operation 4)")]
    [InlineData(true, true, 6, "it is at step 2 (operation 4), in an operation that does not end")]
    public void Who_does_nothing_while_another_waits_is_named_after_its_time(bool computes, bool works, int beats, string cause)
    {
        var stands = new Standstill(["a", "b"], 0, s_options, () => []);
        var still = s_waits with { WaitsFor = "", IsWorking = works, Place = new("step 2", computes) };
        for (var beat = 0; beat < beats; beat++)
            Assert.Null(stands.Look(s_waits with { Number = beat }, still with { Number = beat }));
        var failure = stands.Look(s_waits, still);
        Assert.Equal(0, failure?.Rank);
        Assert.Contains(cause, failure?.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Who_gets_on_or_waits_for_the_same_is_not()
    {
        var stands = new Standstill(["a", "b"], 0, s_options, () => []);
        for (var beat = 0; beat < 20; beat++)
            Assert.Null(stands.Look(s_waits, s_waits with { WaitsFor = "", Beats = beat }));
        for (var beat = 0; beat < 20; beat++)
            Assert.Null(stands.Look(s_waits, s_waits));
        for (var beat = 0; beat < 20; beat++)
            Assert.Null(stands.Look(s_waits with { WaitsFor = "" }, s_waits with { WaitsFor = "" }));
    }

    [Theory, InlineData(true), InlineData(false)] // of three, who waits for something else; nobody where the third gets on
    public void Of_those_who_wait_for_different_things_the_odd_one_is_named(bool thirdWaits)
    {
        var odd = s_waits with { WaitsFor = "those who share its rows", Meeting = 3 };
        var third = thirdWaits ? s_waits : s_waits with { WaitsFor = "" };
        var stands = new Standstill(["a", "b", "c"], 0, s_options, () => [odd, s_waits, third]);
        RankFailedException? failure = null;
        for (var beat = 0; beat < 4; beat++)
            failure = stands.Look(s_waits, odd);
        Assert.Equal(thirdWaits ? 0 : null, failure?.Rank);
        if (thirdWaits)
            Assert.Contains("it is at step 2 (operation 3), where it waits for those who share its rows; rank 1 is at step 2 (operation 4), "
                + "where it waits for all others: neither can go on", failure?.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Who_has_begun_least_is_named_where_all_have_left_a_sign()
    {
        LifeSign?[] signs = [s_waits, s_waits with { Meeting = 2 }, null];
        var stands = new Standstill(["a", "b", "c"], 0, s_options, () => signs);
        Assert.Null(stands.Last("it did not come"));
        signs[2] = s_waits;
        var failure = stands.Last("it did not come");
        Assert.Equal(1, failure?.Rank);
        Assert.Contains("it did not come: it is at its operation 2, others at 4", failure?.Message, StringComparison.Ordinal);
        signs[1] = s_waits;
        Assert.Null(stands.Last("it did not come"));
    }
}
