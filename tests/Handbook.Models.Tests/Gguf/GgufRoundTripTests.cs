using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models.Families;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Models.Gguf;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Models.Tests.Gguf;

/// <summary>From a folder to a GGUF file and back.</summary>
[Collection("tensors")]
public sealed class GgufRoundTripTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Folders() => LlamaCppAgreementTests.Folders();

    [Theory(SkipTestWithoutData = true), Trait("speed", "slow"), MemberData(nameof(Folders))]
    public void A_model_comes_back_with_its_config_and_its_weights(string model)
    {
        var folder = SharedFiles.Need("golden", "models", model);
        var json = JsonNode.Parse(File.ReadAllBytes(Path.Combine(folder, "config.json")))!.AsObject();
        File.WriteAllText(_folder["config.json"], json.ToJsonString());
        File.Copy(Path.Combine(folder, "model.safetensors"), _folder["model.safetensors"]);
        var config = PublishedConfig.Load(_folder.Path);
        File.WriteAllBytes(_folder["tokenizer.json"], LlamaCppAgreementTests.ByteTokenizer(config.Decoder.VocabularySize));
        try
        {
            GgufExport.Write(_folder.Path, GgufPrecision.All[0], _folder["model.gguf"]);
        }
        catch (InputException) when (LlamaCppAgreementTests.Refused.ContainsKey(model))
        {
            return;
        }
        using var file = GgufFile.Open(_folder["model.gguf"]);
        Assert.Equal(DType.Float32, GgufImport.TypeOf(file));
        if (GgufLayouts.Of(config.Family.ModelType)!.Keys is null)
        {
            Assert.Contains("is not read back", Assert.Throws<InputException>(() => GgufImport.Write(file, DType.Float32, _folder["back"])).Message);
            return;
        }
        GgufImport.Write(file, DType.Float32, _folder["back"]);
        var back = PublishedConfig.Load(_folder["back"]);
        Assert.Equal(Compared(config.Decoder), Compared(back.Decoder));
        using var before = WeightFiles.Open(_folder.Path);
        using var after = WeightFiles.Open(_folder["back"]);
        using var ours = ModelWeights.Open(_folder.Path, config);
        using var theirs = ModelWeights.Open(_folder["back"], back);
        foreach (var spec in ours.Parameters)
            Assert.All(ours.ReadSingles(spec.Name).Zip(theirs.ReadSingles(spec.Name)), pair =>
                Assert.Equal(pair.First, pair.Second, config.Decoder.NormWeightOffset == 0 ? 0 : 2.5e-7f));  // 1 + w and back
    }

    [Fact]
    public void A_trained_model_answers_the_same_from_its_file()
    {
        var stories = SharedFiles.Need("models", "tinystories-656k");
        GgufExport.Write(stories, GgufPrecision.All[0], _folder["model.gguf"]);
        using (var file = GgufFile.Open(_folder["model.gguf"]))
            GgufImport.Write(file, DType.Float32, _folder["back"]);
        using var before = LanguageModel.Open(stories);
        using var after = LanguageModel.Open(_folder["back"]);
        var ids = before.EncodeText("Once upon a time there was a little dog named Tim. He");
        Assert.Equal(ids, after.EncodeText("Once upon a time there was a little dog named Tim. He"));
        Assert.Equal(LlamaCppAgreementTests.Logits(before, ids), LlamaCppAgreementTests.Logits(after, ids));
        Assert.Equal(before.StopIds, after.StopIds);
    }

    [Fact]
    public void A_file_that_llama_cpp_wrote_is_read()
    {
        var stories = SharedFiles.Need("models", "tinystories-656k");
        GgufExport.Write(stories, GgufPrecision.All[0], _folder["f32.gguf"]);
        LlamaCpp.Quantise(_folder["f32.gguf"], _folder["theirs.gguf"], LLama.Native.LLamaFtype.MOSTLY_Q5_K_M);
        using (var file = GgufFile.Open(_folder["theirs.gguf"]))
            GgufImport.Write(file, GgufImport.TypeOf(file), _folder["back"]);
        using var ours = LanguageModel.Open(_folder["back"]);
        using var theirs = new LlamaCpp(_folder["theirs.gguf"]);
        var ids = ours.EncodeText("One day, a girl named Lily went to the park.");
        Assert.Equal(ids, theirs.Encode("One day, a girl named Lily went to the park."));
        // there, what matrices read is rounded to 8 bits as well
        Assert.True(LlamaCppAgreementTests.Largest(LlamaCppAgreementTests.Logits(ours, ids), theirs.Logits(ids)) < 0.5);
    }

    [Fact]
    public void A_model_in_several_files_is_read_as_one_here_and_there()
    {
        var stories = SharedFiles.Need("models", "tinystories-656k");
        GgufExport.Write(stories, GgufPrecision.All[1], _folder["model.gguf"]);
        string[] names = [.. Enumerable.Range(1, 3).Select(number => _folder[$"part-{number:d5}-of-00003.gguf"])];
        using (var whole = GgufFile.Open(_folder["model.gguf"]))
        {
            var third = (whole.Tensors.Count + 2) / 3;
            for (var part = 0; part < 3; part++)
            {
                var metadata = new GgufMetadata(names[part]);
                foreach (var (key, kind, element, value) in part == 0 ? whole.Metadata.Entries : [])
                    metadata.Add(key, kind, value, element);
                metadata.Add("split.no", GgufKind.UInt16, (long)part);
                metadata.Add("split.count", GgufKind.UInt16, 3L);
                metadata.Add("split.tensors.count", GgufKind.Int32, (long)whole.Tensors.Count);
                GgufWriter.Save(names[part], metadata, [.. whole.Tensors.Skip(part * third).Take(third).Select(tensor => new GgufTensorToSave(
                    tensor.Name, tensor.Shape, tensor.Blocks, stream => stream.Write(whole.Slice(tensor, 0, (int)tensor.ByteCount))))]);
            }
        }
        using (var file = GgufFile.Open(names[1]))
            GgufImport.Write(file, DType.Float16, _folder["back"]);
        using (var file = GgufFile.Open(_folder["model.gguf"]))
            GgufImport.Write(file, DType.Float16, _folder["whole"]);
        Assert.Equal(File.ReadAllBytes(_folder["whole", "model.safetensors"]), File.ReadAllBytes(_folder["back", "model.safetensors"]));
        using (var theirs = new LlamaCpp(names[0]))
            Assert.Equal("3", theirs.Metadata("split.count"));

        File.Copy(names[0], names[1], overwrite: true);
        Assert.Contains("is number 1 of 3 files, and not 2 of 3", Assert.Throws<InputException>(() => GgufFile.Open(names[0])).Message);
        File.Delete(names[2]);
        Assert.Contains("part-00003-of-00003.gguf is not there", Assert.Throws<InputException>(() => GgufFile.Open(names[0])).Message);
        File.Move(names[0], _folder["alone.gguf"]);
        Assert.Contains("is one of 3 files", Assert.Throws<InputException>(() => GgufFile.Open(_folder["alone.gguf"])).Message);
    }

    [Theory, Trait("speed", "slow")]
    [InlineData("llama2")]
    [InlineData("llama3")]
    [InlineData("gpt2")]
    [InlineData("qwen2.5")]
    [InlineData("smollm2")]
    [InlineData("mistral-v0.1")]
    [InlineData("falcon")]
    [InlineData("minimind")]
    [InlineData("yi-gemma-pipeline")]
    public void A_tokenizer_comes_back(string name)
    {
        var source = SharedFiles.Need("tokenizers", name);
        foreach (var file in Directory.GetFiles(source, "*tokenizer*.json*").Concat(Directory.GetFiles(source, "special_tokens_map.json")))
            File.Copy(file, _folder[Path.GetFileName(file)]);
        var before = Tokenizer.Load(_folder.Path);
        LlamaCppTokenizerTests.WriteModel(_folder.Path, before);
        var notes = GgufExport.Write(_folder.Path, GgufPrecision.All[1], _folder["model.gguf"]).Notes;
        using var gguf = GgufFile.Open(_folder["model.gguf"]);
        var after = GgufTokenizer.Read(gguf);
        Assert.Equal(before.ChatTemplate, after.ChatTemplate);
        var normalizes = notes.Any(note => note.Contains("first changes texts"));
        var different = new List<string>();
        foreach (var row in JsonNode.Parse(File.ReadAllBytes(SharedFiles.Need("tokenizers", "texts.json")))!.AsArray())
        {
            var text = (string)row!["text"]!;
            if (normalizes && before.Decode(before.Encode(text, addSpecialTokens: false)) != text || text.Contains('<') && name is "llama2")
                continue;
            if (!before.Encode(text).SequenceEqual(after.Encode(text)))
                different.Add($"{row["id"]} {text}");
            else if (before.Decode(before.Encode(text)) != after.Decode(before.Encode(text)))
                different.Add($"{row["id"]} {text} -> {after.Decode(before.Encode(text))}");
        }
        Assert.True(different.Count == 0, $"{different.Count}: {string.Join('\n', different)}");
    }

    /// <summary>What a GGUF file says nothing of, and what was a window that llama.cpp does not compute.</summary>
    private static DecoderConfig Compared(DecoderConfig config) => config with
    {
        ModelType = GgufLayouts.Of(config.ModelType)!.Architecture,
        AttentionDropout = 0,
        ResidualDropout = 0,
        EmbeddingDropout = 0,
        InitializerRange = 1,
        BosId = null,
        EosIds = [],
        PadId = null,
        PaddingRow = null,
        DType = null,
        NormEpsilon = (float)config.NormEpsilon,
        SlidingWindows = GgufLayouts.Of(config.ModelType)!.WindowPeriod == 0 ? [] : config.SlidingWindows,
        Experts = config.Experts is { } experts ? experts with { AuxiliaryLossCoefficient = 0, WantsAuxiliaryLoss = false, JitterNoise = 0 } : null,
        RopeScaling = config.RopeScaling is { } scaling ? scaling with { AttentionFactor = null } : null,
    };
}
