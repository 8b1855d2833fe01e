namespace Handbook.Models.Families;

/// <summary>StarCoder and SantaCoder: GPT-2 with one head of keys and values for all queries. Li et al. 2023, arXiv:2305.06161.</summary>
internal sealed class GptBigCode : Gpt2
{
    public override string ModelType => "gpt_bigcode";

    public override string Architecture => "GPTBigCodeForCausalLM";

    public override string ScoreArchitecture => "GPTBigCodeForSequenceClassification";

    public override bool StoresTransposed => false;

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means StarCoder's own value.
        var described = base.Describe(config) with { Activation = config.Activation("activation_function", "gelu_pytorch_tanh") };
        return config.Flag(true, "multi_query") ? described with { KeyValueHeads = 1 } : described;
    }

    private protected override void QueryKeyValue(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        if (config.KeyValueHeads == config.Heads)
            list.GroupByGroup(our, published, config, fused);
        else
            base.QueryKeyValue(list, our, published, config, fused);
    }
}
