namespace Handbook.Base.Tests;

/// <summary>What the system says of a file becomes what the user can do.</summary>
public sealed class FileProblemTests
{
    [Fact]
    public void A_link_to_nothing_is_told_with_where_it_leads()
    {
        var folder = Directory.CreateTempSubdirectory("handbook-link-");
        try
        {
            var link = Path.Combine(folder.FullName, "model.safetensors");
            File.CreateSymbolicLink(link, "../blobs/gone");
            var problem = FileProblem.Explain(Assert.Throws<FileNotFoundException>(() => File.OpenRead(link)))!;
            Assert.Equal($"{link} is a link to ../blobs/gone, and nothing is there", problem.What);
            Assert.Contains("`handbook download`", problem.Fix);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
