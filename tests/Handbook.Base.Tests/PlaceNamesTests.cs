using Handbook.Base.Files;
using Handbook.Testing;

namespace Handbook.Base.Tests;

public sealed class PlaceNamesTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    [Fact]
    public void A_file_is_named_by_the_nearest_place_and_found_by_that_name()
    {
        var places = new PlaceNames(_folder.Path);
        Assert.Equal("data/a.jsonl", places.Of(_folder["data", "a.jsonl"]));
        Assert.Equal(_folder["data", "a.jsonl"], places.Find("data/a.jsonl"));
        Assert.Equal("~/x/y", places.Of(Path.Combine(UserFolder.Path, "x", "y")));
        Assert.Equal(Path.Combine(UserFolder.Path, "x", "y"), places.Find("~/x/y"));
        Assert.Equal("/none/of/these", places.Of("/none/of/these"));
        Assert.Equal("/none/of/these", places.Find("/none/of/these"));
        var snapshot = Path.Combine(HubCache.Root, "models--org--name", "snapshots", new string('a', 40));
        Assert.Equal($"$HF_HUB_CACHE/models--org--name/snapshots/{new string('a', 40)}", places.Of(snapshot));
        Assert.Equal(snapshot, places.Find(places.Of(snapshot)));
        Assert.Equal(new string('a', 40), PlaceNames.CommitOf(Path.Combine(snapshot, "config.json")));
        Assert.Null(PlaceNames.CommitOf(_folder["data"]));
    }

    public void Dispose() => _folder.Dispose();
}
