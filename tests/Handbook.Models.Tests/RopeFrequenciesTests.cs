using System.Text.Json.Nodes;

namespace Handbook.Models.Tests;

public sealed class RopeFrequenciesTests
{
    private static readonly DecoderConfig _plain = Some.Llama(("head_dim", 16), ("max_position_embeddings", 128)).Decoder;

    [Fact] // θ^(−2i/d) with θ = 10000 and d = 16: each is the one before divided by √10
    public void Plain_frequencies_fall_geometrically()
    {
        var rope = RopeFrequencies.Compute(_plain, 10);
        Close([1, 0.316227766017, 0.1, 0.0316227766017, 0.01, 0.00316227766017, 0.001, 0.000316227766017], rope.Inverse);
        Assert.Equal(1, rope.AttentionFactor);
    }

    [Fact]
    public void Linear_divides_every_frequency()
    {
        var rope = Compute(new() { Kind = RopeScalingKind.Linear, Factor = 4 }, 10);
        Close([.. RopeFrequencies.Compute(_plain, 10).Inverse.Select(f => f / 4)], rope.Inverse);
    }

    [Fact] // θ' = 10000 · (2·300/128 − 1)^(16/14), from the formula in another language
    public void Dynamic_grows_with_the_sequence_once_it_is_longer_than_the_model()
    {
        var scaling = new RopeScaling { Kind = RopeScalingKind.Dynamic, Factor = 2 };
        Close(RopeFrequencies.Compute(_plain, 128).Inverse, Compute(scaling, 128).Inverse);
        Close([1, 0.262444986947, 0.0688773711736, 0.0180765207786, 0.00474409225979, 0.0012450632312, 0.000326760603459,
            8.57566823097e-05],
            Compute(scaling, 300).Inverse);
    }

    [Fact] // θ' = 10000 · 1000^(16/14), as in HunYuan's files
    public void Ntk_aware_grows_by_a_fixed_factor()
    {
        var theta = 10000 * Math.Pow(1000, 16.0 / 14);
        var config = Some.Config(("model_type", "hunyuan_v1_dense"), ("vocab_size", 19), ("hidden_size", 64), ("intermediate_size", 20),
            ("num_hidden_layers", 1), ("num_attention_heads", 4), ("rope_scaling", new JsonObject
            {
                ["type"] = "dynamic",
                ["alpha"] = 1000.0,
                ["factor"] = 1.0,
                ["beta_fast"] = 32,
                ["beta_slow"] = 1,
                ["mscale"] = 1.0,
                ["mscale_all_dim"] = 1.0,
            })).Decoder;
        Assert.False(RopeFrequencies.DependOnLength(config));
        Close([.. Enumerable.Range(0, 8).Select(i => Math.Pow(theta, -i / 8.0))], RopeFrequencies.Compute(config, 5000).Inverse);
    }

    [Fact] // values of the reference's formula, evaluated in another language; θ = 500 as in the golden model llama3_rope
    public void Llama3_keeps_fast_frequencies_and_divides_slow_ones()
    {
        var scaling = new RopeScaling { Kind = RopeScalingKind.Llama3, Factor = 8, OriginalMaxPositions = 32 };
        Close([1, 0.237489728447, 0.0311854619376, 0.0121561559058, 0.00559016994375, 0.00257071398574, 0.00118217701125, 0.00054363981901],
            RopeFrequencies.Compute(_plain with { RopeTheta = 500, RopeScaling = scaling }, 10).Inverse);
    }

    [Fact] // the same
    public void Yarn_mixes_along_a_ramp_and_raises_the_attention()
    {
        var rope = Compute(new() { Kind = RopeScalingKind.Yarn, Factor = 4, OriginalMaxPositions = 64 }, 10);
        Close([1, 0.237170824513, 0.05, 0.00790569415042, 0.0025, 0.000790569415042, 0.00025, 7.90569415042e-05], rope.Inverse);
        Assert.Equal(1.138629436111989, rope.AttentionFactor, 12); // 0.1 · ln 4 + 1
    }

    [Fact] // the same
    public void Yarn_takes_its_own_ramp_and_scales()
    {
        var scaling = new RopeScaling
        {
            Kind = RopeScalingKind.Yarn,
            Factor = 4,
            OriginalMaxPositions = 64,
            BetaFast = 8,
            BetaSlow = 2,
            Truncate = false,
            MScale = 0.7,
            MScaleAllDimensions = 1.3,
        };
        var rope = Compute(scaling, 10);
        Close([1, 0.160589134867, 0.025, 0.00790569415042, 0.0025, 0.000790569415042, 0.00025, 7.90569415042e-05], rope.Inverse);
        Assert.Equal(0.9295234923939468, rope.AttentionFactor, 12);
        Assert.Equal(1.5, Compute(scaling with { AttentionFactor = 1.5 }, 10).AttentionFactor);
    }

    [Fact] // √(1 + ln 4 / ln 32) = √1.4
    public void LongRope_has_two_sets_of_divisors()
    {
        var scaling = new RopeScaling
        {
            Kind = RopeScalingKind.LongRope,
            Factor = 4,
            OriginalMaxPositions = 32,
            ShortFactors = ValueList.Repeat(1.0, 8),
            LongFactors = ValueList.Repeat(5.0, 8),
        };
        Close(RopeFrequencies.Compute(_plain, 32).Inverse, Compute(scaling, 32).Inverse);
        Close([.. RopeFrequencies.Compute(_plain, 33).Inverse.Select(f => f / 5)], Compute(scaling, 33).Inverse);
        Assert.Equal(Math.Sqrt(1.4), Compute(scaling, 1).AttentionFactor, 12);
    }

    private static RopeFrequencies Compute(RopeScaling scaling, int length) =>
        RopeFrequencies.Compute(_plain with { RopeScaling = scaling }, length);

    private static void Close(double[] expected, double[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        // 1e-11: the expected values are written with twelve digits.
        Assert.All(expected.Zip(actual), pair => Assert.Equal(1, pair.Second / pair.First, 1e-11));
    }
}
