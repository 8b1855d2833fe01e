using System.Reflection;
using System.Text;
using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;

namespace Handbook.Recipes;

/// <summary>The reference of recipe keys, written from the one table that reading uses as well.</summary>
public static class KeyReference
{
    /// <summary>Letters of a meaning beside which a key and its default fit into a line, and of one that says something.</summary>
    private const int LongestMeaning = 90, ShortestMeaning = 16;

    /// <summary>Every key in a line or two, by group; with a method, only the keys it reads.</summary>
    public static string List(TrainingMethod? method)
    {
        var text = new StringBuilder();
        var keys = RecipeKeys.All.Where(key => method is not { } m || key.Serves(m))
            .Where(key => method is null || key.Disposition == Disposition.Works);
        foreach (var group in keys.GroupBy(key => key.Group))
        {
            text.Append($"{group.Key}\n");
            foreach (var key in group)
                text.Append($"  {key.Name} = {(method is { } of ? KeyDefaults.Of(key, of) : Default(key))}\n      {Meaning(key)}\n");
            text.Append('\n');
        }
        text.Append("`handbook explain KEY` tells more about one.\n");
        return text.ToString();
    }

    /// <summary>The keys that most recipes of a method write, each with its default and the first of what is said of it, and where all
    /// are.</summary>
    public static string Usual(TrainingMethod method)
    {
        var keys = RecipeKeys.All.Where(key => key.IsUsual && key.Serves(method) && !MethodDefinition.Of(method).Unread.Any(unread => unread.Key == key.Name))
            .Select(key => (Written: $"{key.Name}: {KeyDefaults.Of(key, method)}", Meaning: First(Meaning(key)))).ToArray();
        var width = keys.Max(key => key.Written.Length);
        var name = RecipeNames.Of(method);
        return $"Keys of a recipe, those that most have, with their defaults:\n"
            + string.Concat(keys.Select(key => $"  {key.Written.PadRight(width)}  {key.Meaning}\n"))
            + $"\nAll of them: handbook explain --method {name}; more about one: handbook explain learning_rate --method {name}\n";

        // one line of it: the first sentence, or as much of that as makes sense alone
        static string First(string meaning)
        {
            var sentence = (meaning + " ").Split(". ")[0].TrimEnd();
            var at = sentence.Length > LongestMeaning ? sentence.IndexOfAny([';', ':'], ShortestMeaning) : sentence.IndexOf(';');
            return at > 0 ? sentence[..at] : sentence;
        }
    }

    /// <summary>One key: type, default, other names, meaning.</summary>
    /// <param name="method">The method whose default and values are meant; null tells those of all.</param>
    /// <exception cref="InputException">There is no such key, or the method does not read it.</exception>
    public static string Explain(string name, TrainingMethod? method = null)
    {
        var key = Find(name, method);
        var text = new StringBuilder($"{key.Name}\n  {Meaning(key)}\n  type: {RecipeBinder.Described(key.Type)}\n  default: "
            + $"{(method is { } asked ? KeyDefaults.Of(key, asked) : Defaults(key, value => value))}\n");
        if (key.Aliases.Count > 0)
            text.Append($"  also read as: {string.Join(", ", key.Aliases)}\n");
        if (key.Methods.Count > 0)
            text.Append($"  read by: {string.Join(", ", key.Methods.Select(method => $"handbook {RecipeNames.Of(method)}"))}\n");
        foreach (var (owner, values) in Values(key).Where(entry => method is null || entry.Method is null || entry.Method == method))
        {
            text.Append(owner is { } of ? $"  for handbook {RecipeNames.Of(of)}:\n" : "  values:\n");
            foreach (var (value, meaning) in values)
                text.Append($"    {value,-18} {meaning}\n");
        }
        foreach (var (inner, type, otherwise, meaning) in Inner(key))
            text.Append($"  {inner} ({type}; default {otherwise}): {meaning}\n");
        return text.ToString();
    }

    private static RecipeKey Find(string name, TrainingMethod? method)
    {
        var spelled = name.TrimStart('-').Replace('-', '_');
        if (RecipeKeys.Find(spelled) is not { } key)
            throw new InputException($"{name} is not a key of a recipe",
                fix: spelled.Contains('.') && RecipeKeys.Find(spelled.Split('.')[0]) is { } map
                    ? $"`handbook explain {map.Name}` tells of the keys in it"
                    : RecipeKeys.Nearest(spelled, method ?? TrainingMethod.Sft) is { } nearest ? $"did you mean {nearest}?" : "`handbook explain` lists every key");
        return method is not { } asked || key.Serves(asked) ? key
            : throw new InputException($"{key.Name} is not a key of `handbook {RecipeNames.Of(asked)}`",
                fix: $"leave --method out, or name one of {string.Join(", ", key.Methods.Select(other => RecipeNames.Of(other)))}");
    }

    /// <summary>The reference as Markdown: of all keys <c>docs/recipe-keys.md</c>.</summary>
    /// <param name="names">The keys to tell of; none tells of all.</param>
    /// <param name="method">Only keys that this method reads; null takes all.</param>
    public static string Markdown(IReadOnlyList<string>? names = null, TrainingMethod? method = null) => names is { Count: > 0 }
        ? Tables([.. names.Select(name => Find(name, method)).Distinct()])
        : Preface + Tables([.. RecipeKeys.All.Where(key => method is not { } asked || key.Serves(asked))]);

    private static string Preface { get; } = """
        # Recipe keys

        Written by `handbook explain --markdown`; a test keeps it current. A recipe is a flat YAML file of these keys. Every key has an effect,
        prints a note that it has none, or stops the run; an unknown one stops it with the nearest known name. On the command line a key is
        `--key=value`, `--key value`, `--flag` or `--no_flag`, and `--map.inner=value` reaches into maps; the command line wins.

        Recipes come in two ways of writing. With `dataset_mixer`, the older way, rows are packed (`packing: true`, `packing_strategy: wrapped`),
        and other defaults are those of that time. With `dataset_mixture` or `dataset_name` rows are packed only with `packing: true`. The data key
        alone decides. Some defaults depend on the method as well; the table says so, and the `recipe.yaml` of a run folder has every value that counted.


        """;

    private static string Tables(IReadOnlyList<RecipeKey> keys)
    {
        var text = new StringBuilder();
        foreach (var group in keys.GroupBy(key => key.Group))
        {
            text.Append($"## {group.Key}\n\n| key | type | default | meaning |\n|---|---|---|---|\n");
            foreach (var key in group)
            {
                var aliases = key.Aliases.Count > 0 ? $" Also read as {string.Join(", ", key.Aliases.Select(alias => $"`{alias}`"))}." : "";
                text.Append($"| `{key.Name}` | {RecipeBinder.Described(key.Type)} | {Defaults(key, Code)} | "
                    + $"{Cell(Meaning(key, code: true))}{aliases} |\n");
                foreach (var (inner, type, otherwise, meaning) in Inner(key, code: true))
                    text.Append($"| `{key.Name}.{inner}` | {type} | {Code(otherwise)} | {Cell(meaning)} |\n");
            }
            text.Append('\n');
        }
        foreach (var (key, method, values) in keys.SelectMany(key =>
            Values(key, code: true).Select(entry => (key, entry.Method, entry.Values))))
        {
            text.Append($"## Values of `{key.Name}`{(method is { } of ? $" for `handbook {RecipeNames.Of(of)}`" : "")}\n\n| value | "
                + "meaning |\n|---|---|\n");
            foreach (var (value, meaning) in values)
                text.Append($"| `{value}` | {Cell(meaning)} |\n");
            text.Append('\n');
        }
        return text.ToString().TrimEnd('\n') + "\n";

        static string Cell(string meaning) => meaning.Replace("|", "\\|");
        static string Code(string value) => value.Length == 0 ? "" : $"`{value.Replace("|", "\\|")}`";
    }

    /// <summary>What a key is for, or why it is for nothing here.</summary>
    internal static string Meaning(RecipeKey key, bool code = false)
    {
        var meaning = key.Property is { } property ? KeyDocs.Summary(property, code) : "";
        return key.Disposition switch
        {
            Disposition.Works => KeyConditions.Of(key.Name).Where(condition => condition.Only.Length > 0)
                .Aggregate(meaning, (said, condition) => $"{said} {Effect(condition, code)}"),
            Disposition.Expands => $"{key.Reason}.",
            Disposition.NoEffect => $"No effect here: {key.Reason}.",
            Disposition.Rejected => $"Not accepted: {key.Reason}.",
            _ => $"{meaning} Not built yet: {key.Reason}.".TrimStart(),
        };
    }

    private static string Effect(KeyCondition condition, bool code) =>
        $"{(char.IsUpper(condition.Only[0]) ? "" : "Read only ")}{(code ? condition.Only : condition.Only.Replace("`", ""))}.";

    private static string Default(RecipeKey key) => YamlWriter.Flow(key.Default);

    private static string Defaults(RecipeKey key, Func<string, string> shown) =>
        string.Join("; ", KeyDefaults.Words(key).Select(other => other.Where.Length == 0 ? shown(other.Value)
            : $"{shown(other.Value)} {(other.Where.StartsWith("with", StringComparison.Ordinal) ? "" : "for ")}{other.Where}"));

    /// <summary>The values that a key takes with what each means, by method where they differ; none where a value may be anything or says
    /// all by its name.</summary>
    private static IEnumerable<(TrainingMethod? Method, (string Value, string Meaning)[] Values)> Values(RecipeKey key, bool code = false)
    {
        if (key.Name == "loss_type")
            return LossNames.All.Select(entry => ((TrainingMethod?)entry.Method.Method, Of(entry.Losses)));
        var type = Nullable.GetUnderlyingType(key.Type) ?? key.Type;
        return type.IsEnum && Of(type) is var values && values.Any(value => value.Meaning.Length > 0) ? [(null, values)] : [];

        (string Value, string Meaning)[] Of(Type enumeration) => [.. enumeration.GetFields(BindingFlags.Public | BindingFlags.Static)
            .Select(field => (RecipeNames.Of(field.GetValue(null)!), KeyDocs.Summary(field, code)))];
    }

    private static (string Name, string Type, string Default, string Meaning)[] Inner(RecipeKey key, bool code = false)
    {
        return key.Property is null || !IsRecord(key.Type) ? [] : [.. Of(key.Type, "")];

        static bool IsRecord(Type type) => type.Namespace?.StartsWith("Handbook.", StringComparison.Ordinal) == true && !type.IsEnum
            && !type.IsValueType;

        IEnumerable<(string, string, string, string)> Of(Type type, string prefix)
        {
            var defaults = Activator.CreateInstance(type);
            foreach (var property in type.GetProperties(BindingFlags.Public | BindingFlags.Instance))
            {
                var name = prefix + RecipeNames.Key(property.Name);
                var meaning = KeyConditions.Of($"{key.Name}.{name}")
                    .Aggregate(KeyDocs.Summary(property, code), (said, condition) => $"{said} {Effect(condition, code)}");
                yield return (name, RecipeBinder.Described(property.PropertyType), YamlWriter.Flow(property.GetValue(defaults)), meaning);
                if (RecipeBinder.IsList(property.PropertyType) && property.PropertyType.GenericTypeArguments[0] is var entry && IsRecord(entry))
                    foreach (var inner in Of(entry, name + "[]."))
                        yield return inner;
            }
        }
    }
}
