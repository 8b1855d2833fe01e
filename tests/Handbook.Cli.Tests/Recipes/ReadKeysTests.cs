using System.Reflection;
using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Data;
using Handbook.Models;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Plans;

namespace Handbook.Cli.Tests.Recipes;

/// <summary>Every key of every method is read by code that a run of that method comes to, told from the instructions of the libraries. What
/// loads, checks, writes and explains recipes does not count, nor what belongs to another method.</summary>
public sealed class ReadKeysTests
{
    private static readonly Assembly[] s_assemblies = [typeof(Program).Assembly, typeof(TrainingRun).Assembly,
        typeof(TrainingLoop).Assembly,
        typeof(TokenRow).Assembly, typeof(Decoder).Assembly, typeof(Tokenizer).Assembly, typeof(Tensor).Assembly,
            typeof(InputException).Assembly];

    private static readonly CallGraph s_calls = new(s_assemblies);

    /// <summary>What is done with keys before a run begins, while its recipe is read.</summary>
    private static readonly MethodBase[] s_whileRead = [typeof(ModelOptions).GetMethod("AtRevision",
        BindingFlags.Public | BindingFlags.NonPublic
        | BindingFlags.Instance)!];

    public static TheoryData<string> Methods => [.. MethodDefinition.All.Select(method => method.Name)];

    [Theory, MemberData(nameof(Methods))]
    public void Every_key_of_the_method_is_read_by_its_run(string name)
    {
        var method = MethodDefinition.All.Single(method => method.Name == name);
        var reached = Reached(method);
        var unread = RecipeKeys.All.Where(key => key.Disposition == Disposition.Works && key.Serves(method.Method)
            && !reached.Contains(key.Property!.GetMethod!) && !HasOneValue(key, method)).Select(key => key.Name).ToArray();
        Assert.True(unread.Length == 0, $"{name}: nobody reads {string.Join(", ", unread)}");
    }

    [Fact] // the sieve is fine enough: what is known to be read by one method alone is not found in another's run
    public void What_another_method_reads_is_not_found()
    {
        string[] ofKto = ["desirable_weight", "undesirable_weight"];
        foreach (var key in ofKto)
        {
            var getter = RecipeKeys.Find(key)!.Property!.GetMethod!;
            Assert.Contains(getter, Reached(MethodDefinition.Of(TrainingMethod.Kto)));
            Assert.DoesNotContain(getter, Reached(MethodDefinition.Of(TrainingMethod.Dpo)));
            Assert.DoesNotContain(getter, Reached(MethodDefinition.Of(TrainingMethod.Sft)));
        }
    }

    /// <summary>Whether the key is that of the loss, of a method with one: checks refuse every other value, and nobody needs to
    /// ask.</summary>
    private static bool HasOneValue(RecipeKey key, MethodDefinition method) =>
        key.Name == "loss_type" && method.Losses is { } losses && Enum.GetValues(losses).Length == 1;

    private static HashSet<MethodBase> Reached(MethodDefinition method)
    {
        // A pipeline trains with the methods of its stages.
        MethodDefinition[] own = [method, .. method.Stages];
        var others = MethodDefinition.All.Select(Namespace).Except(own.SelectMany(Namespaces)).ToHashSet();
        var roots = own.SelectMany(definition => Bases(definition.GetType()).SelectMany(type => type.GetMethods(BindingFlags.Public
            | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.DeclaredOnly))).Cast<MethodBase>()
            .Append(typeof(TrainCommand).GetMethods(BindingFlags.NonPublic | BindingFlags.Static).Single(run => run.Name == "Run"
                && run.GetParameters()[0].ParameterType == typeof((FileInfo, IReadOnlyList<string>))));
        var records = OptionRecords.All.Select(record => record.Property.PropertyType).ToHashSet();
        return s_calls.Reached(roots.Concat(s_whileRead), Enters);

        bool Enters(MethodBase called) => called.DeclaringType is { } type && (!others.Contains(type.Namespace!)
            || records.Contains(type)) && type.Namespace != "Handbook.Recipes"
            && type != typeof(RecipeProbe)
            && !called.GetParameters().Any(parameter => parameter.ParameterType == typeof(Diagnostics))
            && called.Name is not ("PrintMembers" or "ToString" or "Equals" or "GetHashCode");
    }

    private static IEnumerable<Type> Bases(Type type)
    {
        for (var at = type; at is not null && at != typeof(object); at = at.BaseType)
            yield return at;
    }

    private static string Namespace(MethodDefinition method) => method.GetType().Namespace!;

    private static IEnumerable<string> Namespaces(MethodDefinition method) => Bases(method.GetType()).Select(type => type.Namespace!);
}
