namespace Handbook.Cli.Tests;

public sealed class InfoCommandTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    public void Dispose() => _handbook.Dispose();

    [Fact]
    public void The_installation_is_shown_line_by_line_with_what_is_proven()
    {
        var outcome = _handbook.Run(["info"]);
        Assert.Equal((0, ""), (outcome.Code, outcome.Error));
        var lines = outcome.Output.TrimEnd().Split('\n');
        foreach (var topic in (string[])["libtorch ", "Gloo ", "Nccl ", "libtorch on GPUs ", "driver ", "compiler for kernels ", "fused in libtorch ",
            "computed on a GPU ", "on the CPU alone "])
            Assert.Contains(lines, line => line.StartsWith(topic, StringComparison.Ordinal));
        Assert.EndsWith("unproven on hardware: built and tested without a GPU so far", lines[^1]);
    }
}
