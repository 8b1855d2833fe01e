namespace Handbook.Models.Adapters;

/// <summary>A number that follows from a name alone, on every machine: FNV-1a.</summary>
internal static class NameNumber
{
    public static ulong Of(string name)
    {
        var hash = 14695981039346656037;
        foreach (var letter in name)
            hash = (hash ^ letter) * 1099511628211;
        return hash;
    }
}
