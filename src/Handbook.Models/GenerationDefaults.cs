using System.Text.Json.Nodes;
using Handbook.Models.Families;

namespace Handbook.Models;

/// <summary>A model's <c>generation_config.json</c>: how it would like to be sampled, and the ids that begin and end an answer.</summary>
/// <remarks>What the file does not state comes from <c>config.json</c>, or is null: the caller's own default.</remarks>
public sealed record GenerationDefaults
{
    public int? BosId { get; init; }

    public ValueList<int> EosIds { get; init; } = [];

    public int? PadId { get; init; }

    /// <summary>Draw from the distribution instead of taking the best token.</summary>
    public bool? DoSample { get; init; }

    public double? Temperature { get; init; }

    public double? TopP { get; init; }

    public int? TopK { get; init; }

    public double? RepetitionPenalty { get; init; }

    public int? MaxNewTokens { get; init; }

    /// <summary>Every key as it was read; empty where there was no file.</summary>
    public JsonObject Json { get; init; } = [];

    /// <param name="folder">The model's folder; it need not have the file.</param>
    public static GenerationDefaults Load(string folder, DecoderConfig config)
    {
        var path = Path.Combine(folder, "generation_config.json");
        var json = PublishedJson.ReadIfThere(path) ?? [];
        var reader = new ConfigReader(json, path);
        var eos = reader.TokenIds("eos_token_id", int.MaxValue, 0);
        var defaults = new GenerationDefaults
        {
            BosId = reader.TokenId("bos_token_id") ?? config.BosId,
            EosIds = eos.Count > 0 ? eos : config.EosIds,
            PadId = reader.TokenId("pad_token_id") ?? config.PadId,
            DoSample = reader.Has("do_sample") ? reader.Flag(false, "do_sample") : null,
            Temperature = reader.OptionalNumber("temperature"),
            TopP = reader.OptionalNumber("top_p"),
            TopK = reader.Integer("top_k"),
            RepetitionPenalty = reader.OptionalNumber("repetition_penalty"),
            MaxNewTokens = reader.Integer("max_new_tokens"),
            Json = json,
        };
        reader.ThrowIfAnyProblem();
        return defaults;
    }

    /// <summary>Writes the file with every key it had, and these ids.</summary>
    public void Save(string folder)
    {
        var json = Json.DeepClone().AsObject();
        if (json.Count == 0)
            json["_from_model_config"] = true;
        PublishedConfig.SetId(json, "bos_token_id", BosId);
        PublishedConfig.SetIds(json, "eos_token_id", EosIds);
        PublishedConfig.SetId(json, "pad_token_id", PadId);
        PublishedJson.Write(Path.Combine(folder, "generation_config.json"), json);
    }
}
