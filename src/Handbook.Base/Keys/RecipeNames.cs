using System.Collections.Concurrent;
using System.Reflection;
using System.Text;

namespace Handbook.Base.Keys;

/// <summary>From C# names to the spellings of a recipe: <c>PerDeviceTrainBatchSize</c> is <c>per_device_train_batch_size</c>.</summary>
internal static class RecipeNames
{
    private static readonly ConcurrentDictionary<Type, (string Name, object Value, bool IsFirst)[]> s_spellings = new();

    /// <summary>The key of a property.</summary>
    public static string Key(string property)
    {
        var key = new StringBuilder(property.Length + 8);
        for (var i = 0; i < property.Length; i++)
        {
            if (i > 0 && char.IsAsciiLetterUpper(property[i]))
                key.Append('_');
            key.Append(char.ToLowerInvariant(property[i]));
        }
        return key.ToString();
    }

    /// <summary>How a recipe writes a value of an enumeration.</summary>
    public static string Of(object value) =>
        Spellings(value.GetType()).First(spelling => spelling.IsFirst && spelling.Value.Equals(value)).Name;

    /// <summary>Every spelling of an enumeration, with its value.</summary>
    public static (string Name, object Value, bool IsFirst)[] Spellings(Type type) => s_spellings.GetOrAdd(type, static type =>
        [.. type.GetFields(BindingFlags.Public | BindingFlags.Static)
            .SelectMany(field =>
                field.GetCustomAttribute<SpelledAttribute>()!.Names.Select((name, i) => (name, field.GetValue(null)!, i == 0)))]);
}
