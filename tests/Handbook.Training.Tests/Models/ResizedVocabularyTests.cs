using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Models;

/// <summary>Adapters of models whose vocabulary was resized before: the tables lie beside the adapter, as PEFT saves them.</summary>
[Collection("tensors")]
public sealed class ResizedVocabularyTests
{
    private const int Vocabulary = 29;

    private static readonly Tokenizer s_tokenizer = Tokenizer
        .FromJson("""{"version":"1.0","model":{"type":"BPE","vocab":{"<pad>":0,"<s>":1,"</s>":2,"a":3},"merges":[]}}"""u8)
        .With(eosToken: "</s>", padToken: "<pad>");

    /// <summary>Network, and how many rows more or fewer its tables have.</summary>
    public static TheoryData<string, int> Cases() => new MatrixTheoryData<string, int>(
        ["llama", "tied", "gpt2", "gpt_neox", "phi", "phi with norms", "opt with norms of sums"], [3, -2]);

    [Theory, MemberData(nameof(Cases))]
    public void Number_20_and_22_tables_of_another_size_are_read_trained_over_and_saved_again(string network, int more)
    {
        using var files = new TemporaryFolder();
        var base_ = WriteBase(files, network, out var config);
        var rows = config.Decoder.VocabularySize + more;
        var table = Table(rows, config.Decoder.TableSize, 1);
        var head = config.Decoder.TiedHead ? table : Table(rows, config.Decoder.TableSize, 2);
        var first = WriteAdapter(files["first"], base_, config, [("", table)], [("", head)]);
        var source = ModelSource.Find(first);
        Assert.Equal(rows, source.Config().Decoder.VocabularySize);
        using var loaded = source.Load(source.Config(), DType.Float32);
        Assert.Equal(table, loaded.Parameters[ParameterSpec.Embedding].Value.ToArray<float>());
        Assert.Equal(head, loaded.Head.Value.ToArray<float>());

        using (var weights = source.Open(source.Config()))
        {
            var merged = new MergedWeights(loaded, weights, source.Config());
            Directory.CreateDirectory(files["merged"]);
            WeightFilesWriter.Save(files["merged"], merged.Tensors());
            merged.Config.Save(files["merged"]);
            var whole = ModelSource.Find(files["merged"]);
            using var model = whole.Load(whole.Config(), DType.Float32);
            Assert.All(Logits(loaded, rows).Zip(Logits(model, rows)), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
        }

        var goesOn = ModelSource.Find(base_).ToGoOnWith(first);
        Assert.True(goesOn.HasOwnTables);
        var second = files["second"];
        float[] trained;
        using (var weights = goesOn.Open(goesOn.Config()))
        {
            var layout = AdapterLayout.Of("default", AdapterConfigFile.Read(first), weights.Family, weights.Config, weights.Parameters,
                new AdapterFolder(first), "here", trained: true) with
            { HasOwnTables = goesOn.HasOwnTables };
            using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32).With([layout]));
            Assert.Equal(Logits(loaded, rows), Logits(model, rows));
            Change(model);
            trained = Logits(model, rows);
            Assert.NotEqual(Logits(loaded, rows), trained);
            Save(model, goesOn.Config(), AdapterChain.Link(base_, base_), second);
        }
        Assert.Equal(Names(first), Names(second));
        var again = ModelSource.Find(second);
        using var read = again.Load(again.Config(), DType.Float32);
        Assert.Equal(trained, Logits(read, rows));
    }

    [Theory]
    [InlineData(".base_layer")]
    [InlineData(".original_module")]
    [InlineData(".token_adapter.base_layer")]
    public void Every_name_that_a_wrapped_table_has_is_known(string place)
    {
        using var files = new TemporaryFolder();
        var base_ = WriteBase(files, "tied", out var config);
        var table = Table(Vocabulary + 1, config.Decoder.HiddenSize, 1);
        var source = ModelSource.Find(WriteAdapter(files["first"], base_, config, [(place, table)], []));
        using var model = source.Load(source.Config(), DType.Float32);
        Assert.Equal(table, model.Parameters[ParameterSpec.Embedding].Value.ToArray<float>());
    }

    [Fact]
    public void A_head_that_is_trained_whole_over_a_larger_vocabulary_keeps_both_of_its_tables()
    {
        using var files = new TemporaryFolder();
        var base_ = WriteBase(files, "llama", out var config);
        var (rows, wide) = (Vocabulary + 4, config.Decoder.HiddenSize);
        var folder = WriteAdapter(files["first"], base_, config, [("", Table(rows, wide, 1))],
            [(".original_module", Table(rows, wide, 2)), (".modules_to_save", Table(rows, wide, 3)), ("", Table(rows, wide, 3))],
            new() { ["modules_to_save"] = new JsonArray("lm_head") });
        var source = ModelSource.Find(folder);
        using var model = source.Load(source.Config(), DType.Float32);
        Assert.Equal(Table(rows, wide, 3), model.Head.Value.ToArray<float>());
        using var off = model.With();
        Assert.Equal(Table(rows, wide, 2), off.Head.Value.ToArray<float>());
    }

    /// <summary>What PEFT writes of a tied model: the base's resized table under both names, and the copies that were trained.</summary>
    [Theory]
    [InlineData("embed_tokens, lm_head", false)]
    [InlineData("lm_head", false)]
    [InlineData("model.embed_tokens", true)]
    public void A_tied_head_that_is_trained_whole_over_a_larger_vocabulary_keeps_its_base_s_table(string saved, bool asOne)
    {
        using var files = new TemporaryFolder();
        var base_ = WriteBase(files, "tied", out var config);
        var (rows, wide) = (Vocabulary + 4, config.Decoder.HiddenSize);
        var (below, own, head) = (Table(rows, wide, 1), Table(rows, wide, 2), asOne ? Table(rows, wide, 2) : Table(rows, wide, 3));
        var folder = WriteAdapter(files["first"], base_, config,
            saved == "lm_head" ? [("", below)] : [(".original_module", below), (".modules_to_save", own), ("", own)],
            [(".original_module", below), (".modules_to_save", head), ("", head)],
            new()
            {
                ["modules_to_save"] = new JsonArray([.. saved.Split(", ").Select(name => (JsonNode)name)]),
                ["ensure_weight_tying"] = asOne,
            });
        using (var model = ModelSource.Find(folder) is var source ? source.Load(source.Config(), DType.Float32) : null!)
        {
            Assert.Equal(saved == "lm_head" ? below : own, model.Parameters[ParameterSpec.Embedding].Value.ToArray<float>());
            Assert.Equal(head, model.Head.Value.ToArray<float>());
            Assert.Equal(asOne, model.Parameters.IsTied);
            using var off = model.With();
            Assert.Equal(below, off.Head.Value.ToArray<float>());
            Assert.Equal(below, off.Parameters[ParameterSpec.Embedding].Value.ToArray<float>());
        }

        var goesOn = ModelSource.Find(base_).ToGoOnWith(folder);
        using var weights = goesOn.Open(goesOn.Config());
        var layout = AdapterLayout.Of("default", AdapterConfigFile.Read(folder), weights.Family, weights.Config, weights.Parameters,
            new AdapterFolder(folder), "here", trained: true) with
        { HasOwnTables = goesOn.HasOwnTables };
        using var trained = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32).With([layout]));
        Change(trained);
        Save(trained, goesOn.Config(), AdapterChain.Link(base_, base_), files["second"]);
        Assert.Equal(Names(folder).Where(name => !name.Contains(".modules_to_save.")), Names(files["second"]));
        var again = ModelSource.Find(files["second"]);
        using var read = again.Load(again.Config(), DType.Float32);
        Assert.Equal(Logits(trained, rows), Logits(read, rows));
    }

    [Fact]
    public void Copies_of_a_matrix_that_is_trained_as_one_must_be_the_same()
    {
        using var files = new TemporaryFolder();
        var base_ = WriteBase(files, "tied", out var config);
        var wide = config.Decoder.HiddenSize;
        var folder = WriteAdapter(files["first"], base_, config, [("", Table(Vocabulary, wide, 2))], [("", Table(Vocabulary, wide, 3))],
            new() { ["modules_to_save"] = new JsonArray("model.embed_tokens"), ["ensure_weight_tying"] = true });
        var source = ModelSource.Find(folder);
        Assert.Contains("differ, but ensure_weight_tying makes them one",
            Assert.Throws<InputException>(() => source.Load(source.Config(), DType.Float32)).What);
    }

    [Fact]
    public void Tables_that_make_no_sense_are_refused()
    {
        using var files = new TemporaryFolder();
        var base_ = WriteBase(files, "llama", out var config);
        var tied = WriteBase(files, "tied", out var tiedConfig);
        var wide = config.Decoder.HiddenSize;
        Refused(base_, config, [("", Table(20, 5, 1))], [], "has shape [20, 5], and the model's tables are 12 wide");
        Refused(base_, config, [("", Table(30, wide, 1))], [], "has 30 rows, but the model's other table has 29 and is not here");
        Refused(base_, config, [("", Table(30, wide, 1))], [("", Table(31, wide, 1))], "(30 rows)");
        Refused(tied, tiedConfig, [("", Table(30, wide, 1))], [("", Table(30, wide, 2))], "differ, but the model's head is its embedding");

        void Refused(string below, PublishedConfig of, (string, float[])[] embedding, (string, float[])[] head, string what)
        {
            var folder = WriteAdapter(files["wrong"], below, of, embedding, head);
            Assert.Contains(what, Assert.Throws<InputException>(() => ModelSource.Find(folder).Config()).What);
        }
    }

    private static string WriteBase(TemporaryFolder files, string network, out PublishedConfig config)
    {
        config = network == "tied" ? Tiny.Config("llama").With(("vocab_size", Vocabulary), ("tie_word_embeddings", true))
            : Tiny.Config(network).With(("vocab_size", Vocabulary));
        var folder = files[network];
        Directory.CreateDirectory(folder);
        config.Save(folder);
        WeightFilesWriter.Save(folder, [.. config.Family.Parameters(config.Decoder).SelectMany(spec => spec.Parts).DistinctBy(part =>
            part.Published)
            .Select((part, i) => TensorToSave.From(part.Published, Table(part.PublishedShape.Aggregate((a, b) => a * b), 1, 10 + i),
                [.. part.PublishedShape]))], new());
        return folder;
    }

    /// <summary>An adapter on the first attention's output as PEFT would save it, tables beside it.</summary>
    private static string WriteAdapter(string folder, string base_, PublishedConfig config, (string Place, float[] Values)[] embedding,
        (string Place, float[] Values)[] head, JsonObject? keys = null)
    {
        if (Directory.Exists(folder))
            Directory.Delete(folder, recursive: true);
        Directory.CreateDirectory(folder);
        var part = config.Family.Parameters(config.Decoder).First(spec => spec.Name == "layers.0.attention.output.weight").Parts[0];
        var module = AdapterModules.PathOf(part.Published);
        var wide = config.Decoder.HiddenSize;
        var json = new JsonObject
        {
            ["peft_type"] = "LORA",
            ["base_model_name_or_path"] = base_,
            ["r"] = 2,
            ["lora_alpha"] = 3,
            ["target_modules"] = new JsonArray(module),
        };
        foreach (var (key, value) in keys ?? [])
            json[key] = value?.DeepClone();
        File.WriteAllText(Path.Combine(folder, AdapterConfigFile.Name), json.ToJsonString());
        TensorToSave[] tensors = [TensorToSave.From($"{AdapterLayout.Prefix}{module}.lora_A.weight", Table(2, wide, 7), 2, wide),
            TensorToSave.From($"{AdapterLayout.Prefix}{module}.lora_B.weight", Table(wide, 2, 8), wide, 2),
            .. Tables(config.Family.EmbeddingName, embedding), .. Tables(config.Family.HeadName, head),
            .. config.Decoder.HeadBias ? head.Select(table => table.Values.Length / config.Decoder.TableSize).Select(rows =>
                TensorToSave.From(AdapterLayout.Prefix + "lm_head.bias", Table(rows, 1, 9), rows)) : []];
        using var stream = File.Create(Path.Combine(folder, AdapterFolder.Weights));
        SafetensorsWriter.Write(stream, tensors, new Dictionary<string, string> { ["format"] = "pt" });
        return folder;

        IEnumerable<TensorToSave> Tables(string published, (string Place, float[] Values)[] tables) => tables.Select(table =>
        {
            var columns = table.Values.Length % config.Decoder.TableSize == 0 ? config.Decoder.TableSize : 5;
            return TensorToSave.From($"{AdapterLayout.Prefix}{AdapterModules.PathOf(published)}{table.Place}.weight", table.Values,
                table.Values.Length / columns, columns);
        });
    }

    private static string[] Names(string folder)
    {
        using var files = SafetensorsFile.Open(Path.Combine(folder, AdapterFolder.Weights));
        return [.. files.Names.Select(name => $"{name} {files.Info(name).Shape}").Order(StringComparer.Ordinal)];
    }

    private static float[] Table(long rows, long columns, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, (int)(rows * columns)).Select(_ => (float)(0.4 * (random.NextDouble() - 0.5)))];
    }

    private static void Change(Decoder model)
    {
        var random = new Random(4);
        foreach (var bucket in model.Parameters.Trained)
            foreach (ref var value in bucket.Values.AsSpan<float>())
                value += (float)(0.1 * (random.NextDouble() - 0.5));
        model.Parameters.RefreshCompute();
    }

    private static float[] Logits(Decoder model, int vocabulary)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        return model.Logits(StreamLayout.Of([[1, vocabulary - 1, 5, vocabulary - 2, 3]])).ToArray<float>();
    }

    private static void Save(Decoder model, PublishedConfig config, ModelLink on, string folder) =>
        new SavedModel(model, config, new GenerationDefaults(), s_tokenizer, DType.Float32) { TrainedOn = new([on]) }.Write(folder);
}
