using Handbook.Base;
using Handbook.Runs;
using Handbook.Testing;

namespace Handbook.Tests.Runs;

public sealed class MergePlaceTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    [Fact]
    public void What_a_killed_merge_left_is_no_hindrance()
    {
        Directory.CreateDirectory(_folder["out/.tmp-export-999999999"]);
        File.WriteAllText(_folder["out/.tmp-export-999999999/model.safetensors"], "half");
        MergePlace.Require(_folder["out"], []);
        Assert.Empty(Directory.GetFileSystemEntries(_folder["out"]));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_fails_leaves_the_place_as_it_was(bool exists)
    {
        if (exists)
            Directory.CreateDirectory(_folder["out"]);
        Assert.Throws<InputException>(() => MergePlace.Write(_folder["out"], 100, folder =>
        {
            File.WriteAllText(Path.Combine(folder, "model.safetensors"), "half");
            throw new InputException("no");
        }));
        Assert.Equal(exists, Directory.Exists(_folder["out"]));
        if (exists)
            Assert.Empty(Directory.GetFileSystemEntries(_folder["out"]));
    }

    public void Dispose() => _folder.Dispose();
}
