using Handbook.Base;
using Handbook.Testing;
using Handbook.Training.Distributed;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Distributed;

[Collection("tensors")]
public sealed class OneFolderTests
{
    [Fact]
    public void A_folder_that_all_see_is_left_as_it_was()
    {
        using var folder = new TemporaryFolder();
        WorkerPair.Run(3, its =>
        {
            OneFolder.Require(its, folder.Path, "because");
            return 0;
        });
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.Path));
    }

    [Fact]
    public void A_rank_with_another_folder_ends_all_before_anything_is_trained()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["one"]);
        Directory.CreateDirectory(folder["other"]);
        var said = WorkerPair.Run(2, its => Assert.Throws<InputException>(() => OneFolder.Require(its, folder[its.IsFirst ? "one" : "other"], "because")).Message);
        Assert.All(said, message => Assert.Contains("output_dir: rank 1 on ", message));
        Assert.All(said, message => Assert.Contains($"another folder at {folder["other"]} than rank 0", message));
        Assert.Empty(Directory.EnumerateFiles(folder.Path, "*", SearchOption.AllDirectories));
    }
}
