namespace Handbook.Models.Families;

/// <summary>Granite 3: Llama with factors on embeddings, scores, residuals and logits. IBM Granite Team 2024; the factors are those of Yang
/// et al. 2022, arXiv:2203.03466.</summary>
internal class Granite : Llama
{
    public override string ModelType => "granite";

    public override string Architecture => "GraniteForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config) => base.Describe(config) with
    {
        EmbeddingScale = config.Number(1, "embedding_multiplier"),
        ResidualScale = config.Number(1, "residual_multiplier"),
        AttentionMultiplier = config.Number(1, "attention_multiplier"),
        LogitScale = 1 / config.PositiveNumber(1, "logits_scaling"),
    };
}
