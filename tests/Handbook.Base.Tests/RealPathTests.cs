using Handbook.Base;
using Handbook.Testing;

namespace Handbook.Base.Tests;

public sealed class RealPathTests
{
    [Fact]
    public void A_link_and_its_target_are_one_place()
    {
        using var folder = new TemporaryFolder();
        var target = Directory.CreateDirectory(folder["target"]).FullName;
        File.CreateSymbolicLink(folder["link"], target);

        Assert.Equal(RealPath.Of(target), RealPath.Of(folder["link"]));
        Assert.True(RealPath.IsWithin(Path.Combine(folder["link"], "new", "file"), target));
        Assert.False(RealPath.IsWithin(target + "-other", target));
    }
}
