using Handbook.Models;
using Handbook.Models.Families;

namespace Handbook.Models.Tests;

/// <summary>A model folder of the golden values.</summary>
internal static class GoldenModel
{
    /// <summary>The config; skips, by name, where its family is not built.</summary>
    internal static PublishedConfig Load(string folder, string file)
    {
        try
        {
            return PublishedConfig.Load(Path.Combine(folder, file));
        }
        catch (UnsupportedFamilyException e)
        {
            Assert.Skip($"family {e.ModelType} is not built");
            throw;
        }
    }
}
