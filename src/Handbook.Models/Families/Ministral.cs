namespace Handbook.Models.Families;

/// <summary>Ministral 8B: Mistral with the window in the layers that <c>layer_types</c> names. Mistral AI 2024.</summary>
internal sealed class Ministral : Mistral
{
    public override string ModelType => "ministral";

    public override string Architecture => "MinistralForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;
}
