using CsCheck;
using Handbook.Testing;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>Every real tokenizer beside the library it is published for, on real and on random text: a million texts over all of them in
/// the slow tests, and a million sequences of ids.</summary>
public sealed class TokenizerOracleTests
{
    public static TheoryData<string> Names => [.. TokenizerGolden.Names()];

    [Theory, MemberData(nameof(Names)), Trait("kind", "golden")]
    public void Ids_of_real_text_equal_the_oracle(string name) => CompareCorpus(name, every: 100);

    [Theory, MemberData(nameof(Names)), Trait("kind", "golden"), Trait("speed", "slow")]
    public void Ids_of_the_whole_corpus_equal_the_oracle(string name) => CompareCorpus(name, every: 1);

    [Theory, MemberData(nameof(Names)), Trait("kind", "golden")]
    public void Ids_of_random_text_equal_the_oracle(string name) => CompareRandom(name, iterations: 250);

    [Theory, MemberData(nameof(Names)), Trait("kind", "golden"), Trait("kind", "fuzz"), Trait("speed", "slow")]
    public void Ids_of_much_random_text_equal_the_oracle(string name) => CompareRandom(name, Share(65_000));

    [Theory, MemberData(nameof(Names)), Trait("kind", "golden")]
    public void Random_ids_decode_to_the_text_of_the_oracle(string name) => CompareDecoding(name, iterations: 200);

    [Theory, MemberData(nameof(Names)), Trait("kind", "golden"), Trait("kind", "fuzz"), Trait("speed", "slow")]
    public void Many_random_ids_decode_to_the_text_of_the_oracle(string name) => CompareDecoding(name, Share(65_000));

    /// <summary>As many texts of a tokenizer as make a million over all; fewer where fewer damaged files are asked for, too.</summary>
    private static int Share(int texts) => Math.Max(1, (int)((long)texts * FuzzRun.Cases(200_000) / 200_000));

    private static void CompareCorpus(string name, int every)
    {
        var (ours, oracle) = Open(name);
        using (oracle)
        {
            var texts = TokenizerGolden.Texts(SharedFiles.Need("tokenizers", "texts.json")).Values;
            var documents = TokenizerGolden.Corpus(SharedFiles.Need("tokenizers", "corpus", "mixed.jsonl.gz"));
            foreach (var text in texts.Concat(documents.Where((_, i) => i % every == 0)))
                if (!oracle.Encode(text).AsSpan().SequenceEqual(ours.Encode(text)))
                    Assert.Fail(Difference(ours, oracle, text));
        }
    }

    private static void CompareRandom(string name, int iterations)
    {
        var (ours, oracle) = Open(name);
        using (oracle)
            RandomText.With(Own(ours)).Sample(text => oracle.Encode(text).AsSpan().SequenceEqual(ours.Encode(text)),
                iter: iterations, threads: 1, print: text => Difference(ours, oracle, text));
    }

    private static void CompareDecoding(string name, int iterations)
    {
        var (ours, oracle) = Open(name);
        using (oracle)
        {
            // Added tokens more often than their number says, and ids that no token has.
            var added = ours.AddedTokens.Select(token => token.Id).DefaultIfEmpty(0).ToArray();
            var id = Gen.Frequency((8, Gen.Int[0, ours.VocabularySize + 3]), (1, Gen.Int[0, added.Length - 1].Select(i => added[i])));
            id.Array[0, 12].Sample(ids => oracle.Decode(ids) == ours.Decode(ids, skipSpecialTokens: true), iter: iterations, threads: 1,
                print: ids => $"{string.Join(' ', ids)}: expected {RandomText.Show(oracle.Decode(ids))}, "
                    + $"got {RandomText.Show(ours.Decode(ids, skipSpecialTokens: true))}");
        }
    }

    private static (Tokenizer Ours, Oracle Oracle) Open(string name)
    {
        var json = Oracle.Json(name);
        return (Tokenizer.FromJson(json), new(json));
    }

    /// <summary>The added tokens, and a thousand others.</summary>
    private static string[] Own(Tokenizer tokenizer)
    {
        var step = Math.Max(1, tokenizer.ModelVocabularySize / 1000);
        return [.. tokenizer.AddedTokens.Select(token => token.Content).Take(300),
            .. Enumerable.Range(0, tokenizer.ModelVocabularySize / step).Select(i => tokenizer.IdToToken(i * step)).OfType<string>()];
    }

    private static string Difference(Tokenizer ours, Oracle oracle, string text)
    {
        var (expected, actual) = (oracle.Encode(text), ours.Encode(text));
        return $"{(text.Length > 400 ? "a document" : RandomText.Show(text))}: expected {Tokens(ours, expected, actual)}, "
            + $"got {Tokens(ours, actual, expected)}";
    }

    /// <summary>Ids and tokens from the first difference on.</summary>
    private static string Tokens(Tokenizer tokenizer, int[] ids, int[] others)
    {
        var at = ids.AsSpan().CommonPrefixLength(others);
        var shown = ids.Skip(at).Take(12).Select(id => $"{id} {System.Text.Json.JsonSerializer.Serialize(tokenizer.IdToToken(id))}");
        return $"[{at}…] {string.Join(' ', shown)}";
    }
}
