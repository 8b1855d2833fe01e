using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Models;

/// <summary>The weights of a model that has not learned anything: matrices and embeddings from a normal
/// distribution, biases 0, norms 1.</summary>
/// <remarks>
/// The standard deviation is the config's <c>initializer_range</c>; GPT-2's projections into the residual stream use it divided by
/// √(2·layers). Every parameter has its own stream of numbers, named as our parameter: see <see cref="NormalNumbers"/>.
/// </remarks>
public static class NewModel
{
    private const int Chunk = 1 << 16;

    /// <summary>The config of a new model for a tokenizer: its vocabulary has room for every id, and the special
    /// ids are the tokenizer's.</summary>
    /// <param name="path">A <c>config.json</c> or the folder that holds it; without <c>vocab_size</c> it gets the tokenizer's.</param>
    /// <exception cref="InputException">The embedding has no row for some id.</exception>
    public static PublishedConfig Config(string path, Tokenizer tokenizer)
    {
        var file = PublishedConfig.FileOf(path);
        var json = PublishedConfig.ParseObject(PublishedConfig.Bytes(file), file);
        var ids = IdCount(tokenizer);
        json["vocab_size"] ??= ids;
        json["bos_token_id"] = tokenizer.BosId ?? json["bos_token_id"]?.DeepClone();
        json["eos_token_id"] = tokenizer.EosId ?? json["eos_token_id"]?.DeepClone();
        json["pad_token_id"] = tokenizer.PadId ?? json["pad_token_id"]?.DeepClone();
        var config = PublishedConfig.Parse(PublishedJson.ToBytes(json), file);
        if (config.Assumed is [_, ..] lacking)
            throw new InputException($"{file} lacks {string.Join(", ", lacking.Select(one => one.Key))}",
                why: "a published config may leave out what its class says; a new model's sizes are yours to choose",
                fix: $"write them, such as {string.Join(", ", lacking.Select(one => $"\"{one.Key}\": {one.Value}"))}");
        var size = config.Decoder.VocabularySize;
        if (size < ids)
            throw new InputException($"{file}: vocab_size is {size}, but the tokenizer gives ids up to {ids - 1}",
                why: "an id without a row in the embedding cannot be looked up", fix: $"set vocab_size to {ids} or more, or leave it out");
        foreach (var (key, id) in (ReadOnlySpan<(string, int?)>)[("bos_token_id", config.Decoder.BosId),
            ("pad_token_id", config.Decoder.PadId),
            .. config.Decoder.EosIds.Select(id => ("eos_token_id", (int?)id))])
            if (id >= size)
                throw new InputException($"{file}: {key} is {id}, but vocab_size is {size}",
                    why: "an id without a row in the embedding cannot be looked up", fix: $"remove {key}: the tokenizer names its own");
        return config;
    }

    /// <summary>One more than the largest id; more than the number of tokens where the ids have gaps.</summary>
    internal static int IdCount(Tokenizer tokenizer)
    {
        var count = 0;
        // Two tokens may share an id, so that not all are found: gaps as large as the vocabulary end the search.
        for (int id = 0, found = 0; found < tokenizer.VocabularySize && id < 2 * tokenizer.VocabularySize + 65536; id++)
            if (tokenizer.IdToToken(id) is not null)
                (found, count) = (found + 1, id + 1);
        return count;
    }

    /// <summary>The published tensors of a new model, made when they are written.</summary>
    /// <param name="dtype">Element type in the file; numbers are drawn in float32 and rounded.</param>
    public static IReadOnlyList<TensorToSave> Tensors(PublishedConfig config, long seed, DType dtype)
    {
        // Always the separate parameters: a model's numbers do not depend on how it will be computed.
        var specs = config.Family.Parameters(config.Decoder);
        var byName = specs.ToDictionary(s => s.Name);
        return PublishedTensors.Of(specs, name => Make(byName[name], config.Decoder, seed), dtype);
    }

    internal static unsafe TensorData Make(ParameterSpec spec, DecoderConfig config, long seed)
    {
        var buffer = new NativeBuffer(spec.Count * sizeof(float));
        var values = (float*)buffer.Pointer;
        switch (spec.Kind)
        {
            case ParameterKind.Weight or ParameterKind.Embedding or ParameterKind.Vector:
                var numbers = new NormalNumbers(seed, spec.Name);
                Parallel.For(0, (spec.Count + Chunk - 1) / Chunk, chunk =>
                {
                    var start = chunk * Chunk;
                    numbers.Fill(start, new(values + start, (int)Math.Min(Chunk, spec.Count - start)), spec.InitStd);
                });
                break;
            case ParameterKind.NormWeight:
                Fill(values, spec.Count, (float)(1 - config.NormWeightOffset));
                break;
            case ParameterKind.Bias or ParameterKind.Buffer:
                Fill(values, spec.Count, 0);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(spec), spec.Kind, "not a kind of parameter");
        }
        return new(new(spec.Name, DType.Float32, spec.Shape), buffer.DangerousGetHandle(), buffer);
    }

    private static unsafe void Fill(float* values, long count, float value)
    {
        for (var i = 0L; i < count; i++)
            values[i] = value;
    }
}
