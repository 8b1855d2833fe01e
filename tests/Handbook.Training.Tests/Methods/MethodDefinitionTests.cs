using System.Reflection;
using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;

namespace Handbook.Training.Tests.Methods;

public sealed class MethodDefinitionTests
{
    /// <summary>Records of which every method reads every key that none names.</summary>
    private static readonly string[] s_common = [nameof(MethodOptions.Model), nameof(MethodOptions.Data), nameof(MethodOptions.Training),
        nameof(MethodOptions.Adapter), nameof(MethodOptions.Quantisation), nameof(MethodOptions.Hub), nameof(MethodOptions.Reports)];

    private static readonly PropertyInfo[] s_records = [.. typeof(MethodOptions).GetProperties()
        .Where(property => property.GetCustomAttribute<KeyGroupAttribute>() is not null)];

    public static TheoryData<TrainingMethod> Methods => new(Enum.GetValues<TrainingMethod>());

    [Theory]
    [MemberData(nameof(Methods))]
    public void The_table_defines_each_method(TrainingMethod method)
    {
        var definition = MethodDefinition.Of(method);
        Assert.Equal(method, definition.Method);
        Assert.Equal(definition.Name, new MethodOptions { Method = method }.MethodName);
        Assert.InRange(definition.Summary.Split('\n')[0].Length, 20, 140);
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void A_method_names_keys_that_there_are_and_each_once(TrainingMethod method)
    {
        var known = s_records.SelectMany(record => KeyNames.Of(record.PropertyType)).ToArray();
        Assert.Equal(known.Length, known.Distinct().Count());
        var named = MethodDefinition.Of(method).Keys;
        Assert.Equal([], named.Except(known));
        Assert.Equal(named.Count, named.Distinct().Count());
        Assert.Equal([], MethodDefinition.Of(method).Unread.Select(unread => unread.Key).Except(known.Select(RecipeNames.Key)));
    }

    [Fact]
    public void Each_key_of_a_method_s_record_is_read_by_a_method()
    {
        var read = MethodDefinition.All.SelectMany(definition => definition.Keys).ToHashSet();
        var own = s_records.Where(record => !s_common.Contains(record.Name)).SelectMany(record => KeyNames.Of(record.PropertyType));
        Assert.Equal([], own.Where(key => !read.Contains(key)));
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void A_default_is_of_a_key_that_the_method_reads(TrainingMethod method)
    {
        var definition = MethodDefinition.Of(method);
        var some = MethodDefinition.All.SelectMany(other => other.Keys).Select(RecipeNames.Key).ToHashSet();
        var own = new[] { definition }.Concat(definition.Stages).SelectMany(other => other.Keys).Select(RecipeNames.Key).ToHashSet();
        foreach (var dialect in Enum.GetValues<RecipeDialect>())
        {
            var defaults = definition.Defaults(dialect, new()).Select(other => other.Key).ToArray();
            Assert.Equal([], defaults.Where(key => some.Contains(key) && !own.Contains(key)));
            Assert.Equal(defaults.Length, defaults.Distinct().Count());
        }
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void Its_own_defaults_pass_its_checks(TrainingMethod method)
    {
        var report = new Diagnostics("r.yaml");
        var run = new MethodOptions
        {
            Method = method,
            Training = new() { PerDeviceTrainBatchSize = 8 },
            Scoring = new() { RewardFuncs = ["regex"], RewardPattern = "yes" },
        };
        MethodDefinition.Of(method).Check(run, report);
        Assert.False(report.HasErrors, report.ToString());
    }

    [Fact]
    public void Every_loss_of_a_method_makes_an_objective()
    {
        foreach (var definition in MethodDefinition.All.OfType<PreferenceDefinition>())
            foreach (var (name, _, _) in definition.Losses is { } losses ? RecipeNames.Spellings(losses) : [("", 0, true)])
                Assert.NotNull(definition.Objective(new() { LossType = name.Length == 0 ? null : [name] }));
    }
}
