using System.Security.Cryptography;
using System.Text.Json;
using Handbook.Testing;

namespace Handbook.Text.Tests.Tokenizers;

public sealed class TokenizerGoldenTests
{
    public static TheoryData<string> Tokenizers => [.. TokenizerGolden.Names()];

    [Theory, MemberData(nameof(Tokenizers)), Trait("kind", "golden")]
    public void Ids_offsets_and_decoded_texts_equal_the_reference(string name)
    {
        var differences = TokenizerGolden.Differences(SharedFiles.Need("tokenizers", name));
        Assert.True(differences.Count == 0, $"{differences.Count} differences:\n{string.Join('\n', differences.Take(12))}");
    }

    [Theory, MemberData(nameof(Tokenizers)), Trait("kind", "golden"), Trait("speed", "slow")]
    public void Every_id_of_the_whole_corpus_equals_the_reference(string name) => CheckCorpus(name);

    [Theory, InlineData("llama3"), InlineData("smollm2"), InlineData("llama2")]
    public void Every_id_of_the_whole_corpus_equals_the_reference_for_the_usual_kinds(string name) => CheckCorpus(name);

    private static void CheckCorpus(string name)
    {
        using var golden = JsonDocument.Parse(File.ReadAllBytes(SharedFiles.Need("tokenizers", "corpus", "golden.json")));
        Assert.SkipUnless(golden.RootElement.GetProperty("tokenizers").TryGetProperty(name, out var expected),
            $"no corpus values for {name}");
        var documents = TokenizerGolden.Corpus(SharedFiles.Need("tokenizers", "corpus", "mixed.jsonl.gz"));
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var count = 0;
        foreach (var ids in TokenizerGolden.Load(SharedFiles.Need("tokenizers", name)).EncodeAll(documents, addSpecialTokens: false))
        {
            hash.AppendData(System.Runtime.InteropServices.MemoryMarshal.AsBytes<int>(ids));
            count += ids.Length;
        }
        Assert.Equal(expected.GetProperty("tokens").GetInt32(), count);
        Assert.Equal(expected.GetProperty("sha256").GetString(), Convert.ToHexStringLower(hash.GetHashAndReset()));
    }
}
