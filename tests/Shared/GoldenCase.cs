namespace Handbook.Testing;

/// <summary>Golden cases that cannot run yet, by name.</summary>
/// <remarks>
/// Golden tests walk the shared folder and carry <c>[Trait("kind", "golden")]</c>. <c>make test</c> skips what is not built, by name;
/// <c>make golden</c> sets <c>HANDBOOK_GOLDEN=1</c> and counts it as failed, by name.
/// </remarks>
internal static class GoldenCase
{
    /// <summary>True under <c>make golden</c>.</summary>
    public static bool Strict { get; } = Environment.GetEnvironmentVariable("HANDBOOK_GOLDEN") == "1";

    /// <summary>Ends the calling test: skipped in <c>make test</c>, failed in <c>make golden</c>.</summary>
    /// <param name="name">The case and what it lacks, e.g. <c>qwen2-tiny-03: family qwen2</c>.</param>
    [System.Diagnostics.CodeAnalysis.DoesNotReturn]
    public static void NotBuilt(string name)
    {
        var reason = $"not built yet: {name}";
        if (Strict)
            Assert.Fail(reason);
        Assert.Skip(reason);
    }
}
