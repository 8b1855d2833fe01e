using Handbook.Torch.Devices;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>Operators of ATen by the schema that is there; stand-ins for those of other releases write down what they are called with.</summary>
[Trait("needs", "nvrtc")]
public sealed class AtenKernelTests
{
    // What the two releases declare.
    private const string Queries = "Tensor query, Tensor key, Tensor value", Sequences = "SymInt max_q, SymInt max_k, float dropout_p, bool is_causal";
    private const string Window = "float? scale=None, SymInt? window_size_left=None, SymInt? window_size_right=None";

    private readonly List<string> _calls = [];

    private static string Forward(string states, string more = "") =>
        $"aten::_flash_attention_forward({Queries}, Tensor? cum_seq_q, Tensor? cum_seq_k, {Sequences}, bool return_debug_mask, *, {Window}, "
        + $"Tensor? seqused_k=None, Tensor? alibi_slopes=None{more}) -> (Tensor output, Tensor softmax_logsumexp, {states}, Tensor debug_attn_mask)";

    private static string Backward(string states) =>
        $"aten::_flash_attention_backward(Tensor grad_out, {Queries}, Tensor out, Tensor logsumexp, Tensor cum_seq_q, Tensor cum_seq_k, "
        + $"{Sequences}, {states}, *, {Window}) -> (Tensor, Tensor, Tensor)";

    // Gives as many tensors as the schema has results, each filled with its place.
    private NamedOperator StandIn(string schema)
    {
        var parsed = OperatorSchema.Parse(schema);
        return new(parsed, values =>
        {
            _calls.Add(string.Join(' ', values.Select(value => value.Describe())));
            return [.. parsed.Results.Select((_, i) => Tensor.From([(double)i]))];
        });
    }

    private static Tensor Sized(int n) => Tensor.Zeros(DType.Float32, n);

    [Theory]
    [InlineData("Tensor philox_seed, Tensor philox_offset")]
    [InlineData("Tensor rng_state, Tensor unused")]
    public void Flash_attention_is_called_by_either_schema(string states)
    {
        using var scope = TensorScope.Enter();
        var attention = new FlashAttention(StandIn(Forward(states)), StandIn(Backward(states)));
        FlashSequences sequences = new(Sized(4), Sized(5), 6, 7);
        FlashMask mask = new(Causal: true, Scale: 0.25);
        var result = attention.Forward(Sized(1), Sized(2), Sized(3), sequences, mask);
        Assert.Equal([0, 1, 2, 3], [result.Output.ToScalar(), result.LogSumExp.ToScalar(), result.State.ToScalar(), result.SecondState.ToScalar()]);
        var (query, key, value) = attention.Backward(Sized(9), Sized(1), Sized(2), Sized(3), result, sequences, mask);
        Assert.Equal([0, 1, 2], [query.ToScalar(), key.ToScalar(), value.ToScalar()]);
        Assert.Equal([
            "float32[1] float32[2] float32[3] float32[4] float32[5] 6 7 0 true false 0.25 default default default default",
            "float32[9] float32[1] float32[2] float32[3] float64[1] float64[1] float32[4] float32[5] 6 7 0 true float64[1] float64[1] 0.25 "
                + "default default"], _calls);
    }

    [Fact]
    public void States_go_to_the_backward_pass_by_name_and_results_are_found_wherever_they_stand()
    {
        using var scope = TensorScope.Enter();
        var forward = Forward("Tensor unused, Tensor rng_state", ", int? num_splits=None").Replace("Tensor output, Tensor softmax_logsumexp", "Tensor softmax_logsumexp, Tensor output");
        List<double> states = [];
        var backward = OperatorSchema.Parse(Backward("Tensor rng_state, Tensor unused"));
        var attention = new FlashAttention(StandIn(forward), new(backward, values =>
        {
            states.AddRange(values[12..14].Select(value => ((Tensor)value.Reference!).ToScalar()));
            return [Sized(1), Sized(1), Sized(1)];
        }));
        FlashSequences sequences = new(Sized(4), Sized(5), 6, 7);
        var result = attention.Forward(Sized(1), Sized(2), Sized(3), sequences, new(true, 1, Window: 128));
        Assert.Equal((1.0, 0.0), (result.Output.ToScalar(), result.LogSumExp.ToScalar()));
        _ = attention.Backward(Sized(9), Sized(1), Sized(2), Sized(3), result, sequences, new(true, 1, Window: 128));
        Assert.Equal([3.0, 2.0], states);
        Assert.EndsWith(" true false 1 128 0 default default default", _calls[0]);
    }

    [Fact]
    public void A_schema_that_nobody_knows_is_refused_by_what_it_gives()
    {
        var failure = Assert.Throws<TorchException>(() => new FlashAttention(StandIn(Forward("Tensor a, Tensor b")), StandIn(Backward("Tensor a, Tensor b"))));
        Assert.EndsWith("gives (output, softmax_logsumexp, a, b, debug_attn_mask), a form that this program does not know", failure.Message);
        Assert.Throws<TorchException>(() => new FlashAttention(StandIn(Forward("Tensor rng_state, Tensor unused")),
            StandIn(Backward("Tensor philox_seed, Tensor philox_offset"))));
        using var scope = TensorScope.Enter();
        var needy = new FlashAttention(StandIn(Forward("Tensor rng_state, Tensor unused", ", Tensor block_table")), StandIn(Backward("Tensor rng_state, Tensor unused")));
        failure = Assert.Throws<TorchException>(() => needy.Forward(Sized(1), Sized(2), Sized(3), new(Sized(4), Sized(5), 6, 7), new(true, 1)));
        Assert.EndsWith("needs Tensor block_table, which this program does not know of", failure.Message);
    }

    [Fact]
    public void The_flash_attention_of_this_libtorch_has_a_known_form_where_there_is_one()
    {
        var found = FlashAttention.Find(out var problem);
        var recent = NamedOperator.Find("aten::_flash_attention_forward") is { } forward
            && forward.Schema.Arguments.Any(argument => argument.Name == "seqused_k");
        Assert.Equal(recent, found is not null);
        Assert.Equal(recent, problem.Length == 0);
    }

    [Fact]
    public void The_product_of_8_bit_floats_is_called_by_the_older_and_the_newer_order()
    {
        using var scope = TensorScope.Enter();
        var newer = StandIn("aten::_scaled_mm(Tensor self, Tensor mat2, Tensor scale_a, Tensor scale_b, Tensor? bias=None, Tensor? scale_result=None, "
            + "ScalarType? out_dtype=None, bool use_fast_accum=False) -> Tensor");
        var older = StandIn("aten::_scaled_mm(Tensor self, Tensor mat2, *, Tensor? bias=None, ScalarType? out_dtype=None, Tensor? scale_a=None, "
            + "Tensor? scale_b=None, Tensor? scale_result=None, bool use_fast_accum=False) -> (Tensor, Tensor)");
        foreach (var each in (NamedOperator[])[newer, older])
            Assert.Equal(0.0, AtenKernels.Product(each, Sized(1), Sized(2), Sized(3), Sized(4), DType.BFloat16, fast: true).ToScalar());
        Assert.Equal(["float32[1] float32[2] float32[3] float32[4] default default 15 true",
            "float32[1] float32[2] default 15 float32[3] float32[4] default true"], _calls);
    }

    [Fact]
    public void The_fused_norm_gets_shape_weight_and_epsilon()
    {
        using var scope = TensorScope.Enter();
        var norm = StandIn("aten::_fused_rms_norm(Tensor input, int[] normalized_shape, Tensor? weight, float? eps) -> (Tensor, Tensor)");
        var (y, rstd) = AtenKernels.RmsNorm(norm, Sized(6), Sized(3), 1e-6);
        Assert.Equal((0.0, 1.0), (y.ToScalar(), rstd.ToScalar()));
        Assert.Equal(["float32[6] [3] float32[3] 1E-06"], _calls);
    }

    [Fact]
    public void The_fused_norm_of_this_libtorch_is_the_formula()
    {
        Assert.SkipWhen(AtenKernels.FusedRmsNorm is null, $"libtorch {TorchRuntime.Version} has none");
        using var scope = TensorScope.Enter();
        var (y, rstd) = AtenKernels.RmsNorm(AtenKernels.FusedRmsNorm!, Tensor.From([3.0, 4.0], 1, 2), Tensor.From([1.0, 2.0]), 0);
        // by hand: √((9 + 16) / 2) = 3.535534
        Assert.Equal([3 / 3.535534, 8 / 3.535534], y.ToArray<double>(), (a, b) => Math.Abs(a - b) < 1e-6);
        Assert.Equal(1 / 3.535534, rstd.ToScalar(), 1e-6);
    }

    [Fact]
    public void The_fused_step_of_this_libtorch_is_the_formula()
    {
        Assert.SkipWhen(AtenKernels.FusedAdamW is null, $"libtorch {TorchRuntime.Version} has none");
        using var scope = TensorScope.Enter();
        var (weight, mean, square) = (Tensor.From([2.0]), Tensor.From([0.0]), Tensor.From([0.0]));
        try
        {
            AtenKernels.Step(AtenKernels.FusedAdamW!, [weight], [Tensor.From([0.5])], [mean], [square],
                [Tensor.From([1f]).Reshape(Array.Empty<long>())], 0.1, 0.9, 0.999, 0.01, 1e-8);
        }
        catch (TorchException error) when (error.Message.Contains("Could not run", StringComparison.Ordinal))
        {
            Assert.Skip($"libtorch {TorchRuntime.Version} has it for GPUs alone");
        }
        // by hand: 2·(1 − 0.1·0.01) − 0.1·0.5/(0.5 + 1e-8) = 1.898
        Assert.Equal(1.898, weight.ToScalar(), 1e-6);
        Assert.Equal((0.05, 0.00025), (Math.Round(mean.ToScalar(), 9), Math.Round(square.ToScalar(), 9)));
    }

    [Fact]
    public void A_schema_is_read_with_nested_commas_defaults_and_lists()
    {
        var schema = OperatorSchema.Parse("aten::f.out(Tensor(a!)[] self, int[2] padding=[0, 0], *, Scalar? s=None, Tensor(b!) out) -> Tensor(b!)");
        Assert.Equal("aten::f.out", schema.Name);
        Assert.Equal([new("self", "Tensor(a!)[]", false), new("padding", "int[2]", true), new("s", "Scalar?", true), new("out", "Tensor(b!)", false)],
            schema.Arguments);
        Assert.Equal([""], schema.Results);
        Assert.Empty(OperatorSchema.Parse("aten::g(Tensor x) -> ()").Results);
        Assert.Throws<FormatException>(() => OperatorSchema.Parse("aten::g"));
        Assert.EndsWith("has no argument tau; it has self, padding, s, out",
            Assert.Throws<TorchException>(() => schema.Bind(("self", 1), ("out", 2), ("tau", 3))).Message);
    }

    [Fact]
    public void The_dispatcher_gives_the_schema_of_an_operator_that_is_there()
    {
        using var scope = TensorScope.Enter();
        var add = NamedOperator.Find("aten::add", "Tensor")!;
        Assert.Equal(["self", "other", "alpha"], add.Schema.Arguments.Select(argument => argument.Name));
        Assert.Equal(11.0, add.Call(("alpha", 2), ("other", Tensor.From([4.0])), ("self", Tensor.From([3.0])))[0].ToScalar());
        Assert.Null(NamedOperator.Find("aten::no_such_operator"));
    }
}
