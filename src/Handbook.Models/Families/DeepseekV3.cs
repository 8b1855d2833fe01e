namespace Handbook.Models.Families;

/// <summary>DeepSeek V3 and R1: latent attention, experts in groups that are chosen without a balancing loss. DeepSeek-AI 2024,
/// arXiv:2412.19437.</summary>
/// <remarks>The layers that predict further tokens (<c>num_nextn_predict_layers</c>) are left out, as in the published class.</remarks>
internal sealed class DeepseekV3 : Llama
{
    public override string ModelType => "deepseek_v3";

    public override string Architecture => "DeepseekV3ForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means DeepSeek V3's own value.
        var (turns, plain) = (config.SizeOr(64, "qk_rope_head_dim"), config.SizeOr(128, "qk_nope_head_dim"));
        var described = Describe(config, new()
        {
            Sizes = new(7168, 18432, 61, 128, 129280),
            HeadSize = turns,
            MaxPositions = 4096,
            BosId = 0,
            EosIds = [1]
        });
        var bias = config.Flag(false, "attention_bias");
        var scaling = described.RopeScaling;
        var mscale = scaling?.MScaleAllDimensions is { } all and not 0 && scaling.Factor > 1 ? 0.1 * all * Math.Log(scaling.Factor) + 1 : 1;
        Only(config, "scoring_func", "sigmoid");
        Only(config, "topk_method", "noaux_tc");
        if (config.SizeOr(1, "moe_layer_freq") is > 1 and var frequency)
            config.Problem($"moe_layer_freq is {frequency}; built is 1, experts in every layer behind first_k_dense_replace");
        return Check(config, described with
        {
            KeyValueHeads = described.Heads,
            HeadSize = plain + turns,
            ValueHeadSize = config.SizeOr(128, "v_head_dim"),
            RotarySize = turns,
            RotaryStart = plain,
            InterleavedRope = config.Flag(true, "rope_interleave"),
            AttentionMultiplier = mscale * mscale / Math.Sqrt(plain + turns),
            AttentionOutputBias = bias,
            Latent = new(config.SizeOr(config.States("q_lora_rank") ? 0 : 1536, "q_lora_rank"), config.SizeOr(512, "kv_lora_rank"), bias),
            Experts = Experts(config, described),
        }, "num_attention_heads", "num_key_value_heads");
    }

    private static ExpertOptions? Experts(ConfigReader config, DecoderConfig described)
    {
        var dense = config.Integer("first_k_dense_replace") ?? 3;
        var inner = config.SizeOr(2048, "moe_intermediate_size");
        var experts = ExpertKeys.Read(config, 256, 8, config.Flag(true, "norm_topk_prob"), 0, "n_routed_experts", "num_local_experts",
            "num_experts") with
        {
            InnerSize = inner,
            SharedInnerSize = checked(inner * config.SizeOr(1, "n_shared_experts")),
            DenseLayers = [.. Enumerable.Range(0, described.Layers).Where(layer => layer < dense)],
            Sigmoid = true,
            WeightScale = config.PositiveNumber(2.5, "routed_scaling_factor"),
            Groups = config.SizeOr(8, "n_group"),
            GroupsPerToken = config.SizeOr(4, "topk_group"),
        };
        if (experts.Count % experts.Groups != 0 || experts.Groups > 1 && experts.Count / experts.Groups < 2)
            config.Problem($"n_routed_experts {experts.Count} are not {experts.Groups} groups (n_group) of two or more");
        if (experts.GroupsPerToken > experts.Groups)
            config.Problem($"topk_group is {experts.GroupsPerToken}, more than the {experts.Groups} of n_group");
        return experts;
    }

    private static void Only(ConfigReader config, string key, string built)
    {
        if (config.Text(key) is { } text && text != built)
            config.Problem($"{key} is \"{text}\"; built is {built}");
    }

    private protected override void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        var (d, latent, turns) = (config.HiddenSize, config.Latent!, config.RotarySize);
        if (latent.QueryRank > 0)
        {
            list.Linear(our + ".query_down", published + "q_a_proj", latent.QueryRank, d, latent.Bias);
            list.Norm(our + ".query_down_norm", published + "q_a_layernorm", latent.QueryRank);
            list.Linear(our + ".query", published + "q_b_proj", config.QuerySize, latent.QueryRank, bias: false);
        }
        else
            list.Linear(our + ".query", published + "q_proj", config.QuerySize, d, bias: false);
        list.Linear(our + ".key_value_down", published + "kv_a_proj_with_mqa", latent.KeyValueRank + turns, d, latent.Bias);
        list.Norm(our + ".key_value_norm", published + "kv_a_layernorm", latent.KeyValueRank);
        list.Linear(our + ".key_value", published + "kv_b_proj", config.Heads * (config.HeadSize - turns + config.ValueHeadSize),
            latent.KeyValueRank, bias: false);
        list.Linear(our + ".output", published + "o_proj", d, config.MixedSize, config.AttentionOutputBias);
    }

    private protected override void Experts(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        list.Experts(our, published + "mlp.", "gate", ("gate_proj", "up_proj", "down_proj"), config, fused);
        list.Buffer(our + ".router.correction", published + "mlp.gate.e_score_correction_bias", config.Experts!.Count);
        list.SharedExpert(our, published + "mlp.shared_experts.", config, fused);
    }
}
