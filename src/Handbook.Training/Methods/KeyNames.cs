using System.Reflection;

namespace Handbook.Training.Methods;

/// <summary>The keys of a record of options.</summary>
internal static class KeyNames
{
    /// <summary>All of them, by the names of their properties.</summary>
    public static IReadOnlyList<string> Of<T>() => Of(typeof(T));

    /// <inheritdoc cref="Of{T}"/>
    public static IReadOnlyList<string> Of(Type record) =>
        [.. record.GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(property => property.CanWrite)
            .Select(property => property.Name)];
}
