using System.Runtime.CompilerServices;

namespace Handbook.Text.Templates;

/// <summary>What one render may cost. Templates arrive with downloaded models, so none may hang or fill memory.</summary>
/// <remarks>The largest published templates spend some thousand steps on a long chat; the borders are thousands of times above.</remarks>
internal static class Budget
{
    public const long Steps = 20_000_000;
    public const int Characters = 1 << 26;
    public const int Items = 1 << 22;

    // Characters of text work that weigh as much as one step.
    private const int CharactersPerStep = 256;

    [ThreadStatic]
    private static long _left;

    /// <summary>Starts a render on this thread; returns what an outer one had left.</summary>
    public static long Start()
    {
        var outer = _left;
        _left = Steps;
        return outer;
    }

    public static void Restore(long left) => _left = left;

    public static void Spend(long steps)
    {
        if ((_left -= steps) < 0)
            throw JinjaException.Limit($"the template took more than {Steps} steps");
    }

    /// <summary>Pays for work on a text and checks its length.</summary>
    public static void Text(long length)
    {
        CheckLength(length);
        Spend(1 + (length / CharactersPerStep));
    }

    public static void CheckLength(long length)
    {
        if (length > Characters)
            throw JinjaException.Limit($"the template made a text of more than {Characters} characters");
    }

    public static void CheckItems(long count)
    {
        if (count > Items)
            throw JinjaException.Limit($"the template made a list of more than {Items} items");
        Spend(count);
    }

    /// <summary>Refuses nesting before the stack ends.</summary>
    public static void Nest()
    {
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack())
            throw JinjaException.Limit("the template nests too deeply");
    }
}
