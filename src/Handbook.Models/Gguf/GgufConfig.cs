using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models.Families;
using Handbook.Models.Files;

namespace Handbook.Models.Gguf;

/// <summary>The config.json that a GGUF file amounts to.</summary>
internal static class GgufConfig
{
    /// <summary>Reads the keys, and checks that the network they describe would be written with the same ones.</summary>
    /// <returns>The config, and the layout of its family.</returns>
    /// <exception cref="InputException">The architecture is not known, or says what its family's config.json cannot.</exception>
    public static (PublishedConfig Config, GgufLayout Layout) Read(GgufFile file)
    {
        var architecture = file.Metadata.Need(file.Metadata.Text("general.architecture"), "general.architecture");
        if (file.Metadata.Text("general.type") is { } type and not "model")
            throw new InputException($"{file.Path} is no model's file, but of the type {type}", fix: "name the file of a model");
        var reading = new GgufReading(file, architecture);
        var (family, layout) = FamilyOf(reading, architecture);
        var config = PublishedConfig.Parse(PublishedJson.ToBytes(Json(reading, family, layout)), file.Path);
        Compare(file, layout, config.Decoder);
        return (config, layout);
    }

    private static (Family, GgufLayout) FamilyOf(GgufReading reading, string architecture)
    {
        var routed = reading.Whole("expert_count") is > 0;
        foreach (var family in Family.All)
            if (GgufLayouts.Of(family.ModelType) is { Keys: { } keys } layout && layout.Architecture == architecture
                && keys.Experts is not null == routed
                && keys.SharedInner is not null == reading.Whole("expert_shared_feed_forward_length") is > 0
                && (architecture != "olmo2" || layout.WindowPeriod > 0 == reading.Whole("attention.sliding_window") is > 0))
                return (family, layout);
        var known = Family.All.Select(family => GgufLayouts.Of(family.ModelType)).Where(layout => layout?.Keys is not null)
            .Select(layout => layout!.Architecture).Distinct();
        throw new InputException(
            $"{reading.File.Path}: the architecture \"{architecture}\"{(routed ? " with experts" : "")} is not read back",
            why: $"these are: {string.Join(", ", known)}", fix: "name the model's folder, or its name on the hub, instead of this file");
    }

    private static JsonObject Json(GgufReading reading, Family family, GgufLayout layout)
    {
        var keys = layout.Keys!;
        var heads = reading.Need("attention.head_count");
        var hidden = reading.Need("embedding_length");
        var size = reading.Whole("attention.key_length") ?? hidden / Math.Max(1, heads);
        var json = new JsonObject
        {
            ["architectures"] = new JsonArray(family.Architecture),
            ["model_type"] = family.ModelType,
            ["vocab_size"] = Embedding(reading).Shape[0],
            ["tie_word_embeddings"] = reading.File.Find(GgufTensorMap.Head + ".weight") is not { } head
                || layout.NeedsHead && IsCopy(reading.File, head, Embedding(reading)),
            [keys.Hidden] = hidden,
            [keys.Layers] = reading.Need("block_count"),
            [keys.Heads] = heads,
            [keys.Positions] = reading.Need("context_length"),
            [keys.Epsilon] = Tidy(reading.Number("attention.layer_norm_rms_epsilon") ?? reading.Number("attention.layer_norm_epsilon")),
        };
        Add(json, keys.Inner, reading.Need("feed_forward_length"));
        Add(json, keys.KeyValueHeads, reading.Whole("attention.head_count_kv") ?? heads);
        Add(json, keys.HeadSize, size);
        Add(json, keys.PartialRotary, reading.Whole("rope.dimension_count") is { } turns ? (double)turns / size : null);
        Add(json, keys.Bias, reading.HasTensor("attn_q.bias") || reading.HasTensor("attn_qkv.bias"));
        Add(json, keys.MlpBias, reading.HasTensor("ffn_up.bias"));
        Add(json, keys.Window, reading.Whole("attention.sliding_window"));
        if (keys.Experts is not null)
        {
            json[keys.Experts] = reading.Need("expert_count");
            json["num_experts_per_tok"] = reading.Need("expert_used_count");
            Add(json, keys.ExpertInner, reading.Whole("expert_feed_forward_length"));
            Add(json, keys.SharedInner, reading.Whole("expert_shared_feed_forward_length"));
        }
        if (reading.Number("rope.freq_base") is { } theta)
            json["rope_theta"] = Tidy(theta);
        if (Scaling(reading, size) is { } scaling)
            json["rope_scaling"] = scaling;
        keys.More?.Invoke(reading, json);
        foreach (var (key, role) in new[] { ("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding") })
            json[key] = reading.File.Metadata.Whole($"tokenizer.ggml.{role}_token_id");
        return json;
    }

    private static void Add(JsonObject json, string? key, JsonNode? value)
    {
        if (key is not null && value is not null)
            json[key] = value;
    }

    /// <summary>Whether the head is the embedding once more.</summary>
    private static bool IsCopy(GgufFile file, GgufTensorInfo head, GgufTensorInfo embedding)
    {
        if (head.Blocks != embedding.Blocks || !head.Shape.Equals(embedding.Shape))
            return false;
        const int chunk = 1 << 24;
        for (var at = 0L; at < head.ByteCount; at += chunk)
        {
            var length = (int)Math.Min(chunk, head.ByteCount - at);
            if (!file.Slice(head, at, length).SequenceEqual(file.Slice(embedding, at, length)))
                return false;
        }
        return true;
    }

    private static GgufTensorInfo Embedding(GgufReading reading) => reading.File.Find("token_embd.weight")
        ?? throw new InputException($"{reading.File.Path}: has no tensor \"token_embd.weight\"", fix: "fetch or write the file again");

    /// <summary>A number that was kept in 32 bits, as people write it.</summary>
    internal static double? Tidy(double? value) => value is { } number
        ? double.Parse(((float)number).ToString(System.Globalization.CultureInfo.InvariantCulture),
            System.Globalization.CultureInfo.InvariantCulture)
        : null;

    private static JsonObject? Scaling(GgufReading reading, int headSize)
    {
        if (reading.Values("rope_freqs.weight") is { } divisors && divisors.Any(divisor => divisor != 1))
            return Llama3(reading, divisors, headSize);
        var factor = Tidy(reading.Number("rope.scaling.factor"));
        var original = reading.Whole("rope.scaling.original_context_length");
        switch (reading.Text("rope.scaling.type"))
        {
            case "linear" when factor is not null:
                return new() { ["rope_type"] = "linear", ["factor"] = factor };
            case "yarn":
                return new() { ["rope_type"] = "yarn", ["factor"] = factor, ["original_max_position_embeddings"] = original };
            case "longrope":
                return new()
                {
                    ["rope_type"] = "longrope",
                    ["long_factor"] = List(reading.Values("rope_factors_long.weight")),
                    ["short_factor"] = List(reading.Values("rope_factors_short.weight")),
                    ["original_max_position_embeddings"] = original,
                };
            default:
                return null;
        }

        static JsonArray List(float[]? values) => new([.. (values ?? []).Select(value => (JsonNode?)JsonValue.Create(Tidy(value)))]);
    }

    /// <summary>The settings of Llama 3 that give these divisors; the file has the divisors alone.</summary>
    private static JsonObject Llama3(GgufReading reading, float[] divisors, int headSize)
    {
        var theta = reading.Number("rope.freq_base") ?? 10000;
        foreach (var original in (int[])[8192, 4096, 16384, 2048, 32768, 1024, 512, 256, 128, 64, 32])
        {
            var scaling = new RopeScaling
            {
                Kind = RopeScalingKind.Llama3,
                Factor = Math.Round(divisors.Max(), 4),
                LowFrequencyFactor = 1,
                HighFrequencyFactor = 4,
                OriginalMaxPositions = original,
            };
            var shape = new DecoderConfig
            {
                ModelType = "llama",
                HiddenSize = headSize,
                IntermediateSize = 1,
                Layers = 1,
                Heads = 1,
                KeyValueHeads = 1,
                HeadSize = headSize,
                VocabularySize = 1,
                MaxPositions = original,
                NormEpsilon = 1e-6,
                Activation = Torch.Fused.Activation.Silu,
                RotarySize = headSize,
                RopeTheta = theta,
                RopeScaling = scaling,
            };
            var tried = GgufHyperparameters.FrequencyDivisors(shape).Single().Values;
            if (tried.Length == divisors.Length && tried.Zip(divisors).All(pair => Math.Abs(pair.First / pair.Second - 1) < 1e-4))
                return new()
                {
                    ["rope_type"] = "llama3",
                    ["factor"] = scaling.Factor,
                    ["low_freq_factor"] = 1.0,
                    ["high_freq_factor"] = 4.0,
                    ["original_max_position_embeddings"] = original,
                };
        }
        throw new InputException($"{reading.File.Path}: rope_freqs.weight stretches positions in a way that no rope_type does",
            why: "config.json says such a way by its settings, and these cannot be found from the numbers",
            fix: "name the model's folder, or its name on the hub, instead of this file");
    }

    /// <summary>What we would write of the network must be what the file says: nothing of it is lost.</summary>
    private static void Compare(GgufFile file, GgufLayout layout, DecoderConfig config)
    {
        var written = new GgufMetadata(file.Path);
        GgufHyperparameters.Add(written, layout, config, []);
        foreach (var (key, _, _, value) in written.Entries)
            if (file.Metadata.Has(key) && !Same(value, file.Metadata.Entries.First(entry => entry.Key == key).Value))
                throw new InputException($"{file.Path}: {key} is {file.Metadata.Entries.First(entry => entry.Key == key).Value}, but a "
                    + $"{config.ModelType} model with the file's other keys has {value}", why: "config.json cannot say what the file says",
                    fix: "name the model's folder, or its name on the hub, instead of this file");

        static bool Same(object ours, object theirs) => ours switch
        {
            string text => text.Equals(theirs as string),
            bool flag => flag.Equals(theirs),
            _ when theirs is long or double => Math.Abs(Convert.ToDouble(ours, null) - Convert.ToDouble(theirs, null))
                <= 1e-5 * Math.Abs(Convert.ToDouble(theirs, null)),
            _ => true,      // a list for each layer, of which the first number counts
        };
    }
}
