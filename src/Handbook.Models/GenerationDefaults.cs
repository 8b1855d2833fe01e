using System.Text.Json.Nodes;
using Handbook.Models.Families;

namespace Handbook.Models;

/// <summary>A model's <c>generation_config.json</c>: how it would like to be sampled, and the ids that begin and end an answer.</summary>
/// <remarks>What the file does not state comes from <c>config.json</c>, or is null: the caller's own default.</remarks>
public sealed record GenerationDefaults
{
    internal const string FileName = "generation_config.json";

    /// <summary>The id that begins a text.</summary>
    public int? BosId { get; init; }

    /// <summary>The ids that end an answer; empty where neither file names any.</summary>
    public ValueList<int> EosIds { get; init; } = [];

    /// <summary>The id that fills short rows.</summary>
    public int? PadId { get; init; }

    /// <summary>Draw from the distribution instead of taking the best token.</summary>
    public bool? DoSample { get; init; }

    /// <summary>What logits are divided by before a token is drawn.</summary>
    public double? Temperature { get; init; }

    /// <summary>Draw among the likeliest tokens whose probabilities reach this sum.</summary>
    public double? TopP { get; init; }

    /// <summary>Draw among so many of the likeliest tokens; 0 is all.</summary>
    public int? TopK { get; init; }

    /// <summary>By how much the logits of tokens that already occurred are made smaller; 1 is not at all.</summary>
    public double? RepetitionPenalty { get; init; }

    /// <summary>Most tokens of an answer.</summary>
    public int? MaxNewTokens { get; init; }

    /// <summary>Every key as it was read; empty where there was no file.</summary>
    public JsonObject Json { get; init; } = [];

    /// <param name="folder">The model's folder; it need not have the file.</param>
    public static GenerationDefaults Load(string folder, DecoderConfig config)
    {
        var path = Path.Combine(folder, FileName);
        var json = PublishedJson.ReadIfThere(path) ?? [];
        var reader = new ConfigReader(json, path);
        var eos = reader.TokenIds("eos_token_id", [], 0);
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
        PublishedJson.Write(Path.Combine(folder, FileName), json);
    }
}
