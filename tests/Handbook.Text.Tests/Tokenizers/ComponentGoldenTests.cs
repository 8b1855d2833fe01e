using System.Text.Json;
using Handbook.Testing;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Tokenizers;

[Trait("kind", "golden")]
public sealed class ComponentGoldenTests
{
    public static TheoryData<string> Normalizers => [.. ComponentGolden.Items("normalizers.json", "normalizer")];

    public static TheoryData<string> PreTokenizers => [.. ComponentGolden.Items("pre_tokenizers.json", "pre_tokenizer")];

    public static TheoryData<string> Decoders => [.. ComponentGolden.Items("decoders.json", "decoder")];

    public static TheoryData<string> Tokenizers => [.. ComponentGolden.Items("tokenizers.json", "tokenizer")];

    [Theory, MemberData(nameof(Normalizers))]
    public void A_normalizer_gives_the_text_of_the_reference(string name) => Check("normalizers.json", name, ComponentGolden.Normalizer);

    [Theory, MemberData(nameof(PreTokenizers))]
    public void A_pre_tokenizer_gives_the_pieces_of_the_reference(string name) =>
        Check("pre_tokenizers.json", name, ComponentGolden.PreTokenizer);

    [Theory, MemberData(nameof(Decoders))]
    public void A_decoder_gives_the_text_of_the_reference(string name) => Check("decoders.json", name, ComponentGolden.Decoder);

    [Theory, MemberData(nameof(Tokenizers))]
    public void A_small_tokenizer_gives_everything_that_the_reference_gives(string name) =>
        Check("tokenizers.json", name, ComponentGolden.SmallTokenizer);

    private static void Check(string file, string name, Func<JsonElement, List<string>> compare)
    {
        try
        {
            var differences = compare(ComponentGolden.Item(file, name));
            Assert.True(differences.Count == 0, $"{differences.Count} differences:\n{string.Join('\n', differences.Take(12))}");
        }
        catch (UnknownComponentException missing)
        {
            GoldenCase.NotBuilt($"{name}: {missing.What}");
        }
    }
}
