using Handbook.Base.Files;

namespace Handbook.Base.Tests;

/// <summary>An address copied from the hub's page means a name.</summary>
public sealed class HubAddressTests
{
    [Theory]
    [InlineData("https://huggingface.co/HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M")]
    [InlineData("https://huggingface.co/datasets/HuggingFaceH4/ultrachat_200k/", "HuggingFaceH4/ultrachat_200k")]
    [InlineData("https://huggingface.co/datasets/o/d/tree/refs%2Fconvert%2Fparquet?x=1#files", "o/d@refs/convert/parquet")]
    [InlineData("huggingface.co/o/m/tree/main", "o/m")]
    [InlineData("hf.co/o/m/blob/v1.0/config.json", "o/m@v1.0")]
    [InlineData("hf://datasets/o/d", "o/d")]
    [InlineData("datasets/o/d", "o/d")]
    [InlineData("https://huggingface.co/o", null)]
    [InlineData("o/m", null)]
    [InlineData("data/rows.jsonl", null)]
    public void It_is_read(string address, string? name) => Assert.Equal(name, HubCache.NameIn(address));
}
