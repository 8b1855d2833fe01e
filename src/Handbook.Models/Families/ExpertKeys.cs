namespace Handbook.Models.Families;

/// <summary>The keys of experts that families share, checked.</summary>
internal static class ExpertKeys
{
    private const int MostExperts = 4096;        // lists are made from it

    /// <param name="count">Experts where the file says nothing.</param>
    /// <param name="perToken">How many a token visits where the file says nothing.</param>
    /// <param name="normalize">Whether weights of the chosen are scaled to sum to one.</param>
    /// <param name="loss">Weight of the balancing loss where the file says nothing.</param>
    /// <param name="keys">Names of the number of experts.</param>
    public static ExpertOptions Read(ConfigReader config, int count, int perToken, bool normalize, double loss,
        params ReadOnlySpan<string> keys)
    {
        var key = keys[0];
        foreach (var name in keys)
            if (config.Has(name))
            {
                key = name;
                break;
            }
        var experts = new ExpertOptions(config.SizeOr(count, key), config.SizeOr(perToken, "num_experts_per_tok"), normalize,
            config.Number(loss, "router_aux_loss_coef"), config.Flag(false, "output_router_logits"), config.Number(0, "router_jitter_noise"));
        if (experts.Count > MostExperts)
        {
            config.Problem($"{key} is {experts.Count}, more than {MostExperts}");
            experts = experts with { Count = 1, PerToken = 1 };
        }
        if (experts.PerToken > experts.Count)
            config.Problem($"num_experts_per_tok is {experts.PerToken}, more than the {experts.Count} of {key}");
        if (experts.AuxiliaryLossCoefficient < 0)
            config.Problem($"router_aux_loss_coef is {experts.AuxiliaryLossCoefficient}, but must be 0 or greater");
        return experts;
    }

    /// <summary>Layers that stay dense in the Qwens: those that <c>mlp_only_layers</c> lists, and all that are not a multiple of
    /// <c>decoder_sparse_step</c>, counted from 1.</summary>
    public static ValueList<int> DenseLayers(ConfigReader config, int layers)
    {
        var step = config.SizeOr(1, "decoder_sparse_step");
        var listed = config.Numbers("mlp_only_layers") ?? [];
        return [.. Enumerable.Range(0, layers).Where(layer => listed.Contains(layer) || (layer + 1) % step != 0)];
    }
}
