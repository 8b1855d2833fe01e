using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Reference;

namespace Handbook.Torch.Tests.Fused;

/// <summary>What an ordinary operator allows, every node of ours does: any gradient factor, a second backward, any input frozen.</summary>
public sealed class EveryNodeTests
{
    private static readonly int[] s_targets = [1, 4, 0];
    private static readonly int[] s_many = [.. Enumerable.Range(0, 300).Select(i => i * 7919 % 32003)];
    private static readonly Routing s_visits = new([2, 1, 1, 3, 3, 2, 2, 1], perToken: 2, experts: 4);        // nobody visits expert 0
    private static readonly float[] s_counts = [2, 0, 1];

    /// <summary>By name: the nodes that take part, and the operation beside its plain version.</summary>
    private static Dictionary<string, (string[] Nodes, Func<Agree> Operation)> All { get; } = new()
    {
        ["RMS norm"] = (["AddNorm"], () => Norm(Tuple(x => AddNorm.Rms(x[0].Value, x[1].Value, x[2].Parameter!, 0.01, x[1].Value.DType,
            1)), x =>
        {
            var h = x[0].Value + x[1].Value;
            return [h, Plain.RmsNorm(h, x[2].Value, 0.01, 1)];
        }).With(Role.Weight, 1, 5)),
        ["layer norm"] = (["AddNorm"], () => Norm(Tuple(x => AddNorm.Layer(x[0].Value, x[1].Value, x[2].Parameter!, x[3].Parameter, 0.01,
            x[1].Value.DType)), x =>
        {
            var h = x[0].Value + x[1].Value;
            return [h, Plain.LayerNorm(h, x[2].Value, x[3].Value, 0.01)];
        }).With(Role.Weight, 1, 5).With(Role.Weight, 1, 5)),
        ["layer norm of weights less one, two in turn"] = (["AddNorm"], () => Norm(Tuple(x => AddNorm.Layer(x[0].Value, x[1].Value,
            x[2].Parameter!, x[3].Parameter, 0.01, x[1].Value.DType, offset: 1, turns: 2)), x =>
        {
            var h = x[0].Value + x[1].Value;
            return [h, InTurn(h, row => Plain.LayerNorm(h.Narrow(0, row, 1), x[2].Value.Narrow(0, row % 2, 1),
                x[3].Value.Narrow(0, row % 2, 1), 0.01, 1))];
        }).With(Role.Weight, 1, 2, 5).With(Role.Weight, 1, 2, 5)),
        ["RMS norm of two weights in turn"] = (["AddNorm"], () => Norm(Tuple(x => AddNorm.Rms(x[0].Value, x[1].Value, x[2].Parameter!, 0.01,
            x[1].Value.DType, turns: 2)), x =>
        {
            var h = x[0].Value + x[1].Value;
            return [h, InTurn(h, row => Plain.RmsNorm(h.Narrow(0, row, 1), x[2].Value.Narrow(0, row % 2, 1), 0.01))];
        }).With(Role.Weight, 1, 2, 5)),
        ["only the residual stream of a norm"] = (["AddNorm"], () => Norm(x => [AddNorm.Rms(x[0].Value, x[1].Value, x[2].Parameter!, 0.01,
            x[1].Value.DType).Residual],
            x => [x[0].Value + x[1].Value]).With(Role.Weight, 1, 5)),
        ["gated activation"] = (["GatedActivation"], () => new Agree
        {
            Fused = x => [GatedActivation.Forward(x[0].Value, Activation.Silu, gated: true)],
            Plain = x => [Plain.Activate(x[0].Value, Activation.Silu, gated: true)],
        }.With(Role.Product, 1, 3, 8)),
        ["embedding with positions"] = (["TokenEmbedding"], () => new Agree
        {
            Fused = x =>
                [TokenEmbedding.Forward(s_targets, new[] { 0, 1, 0 }, x[0].Parameter!, x[1].Parameter, x[0].Parameter!.Value.DType, 1.5)],
            Plain = x => [Plain.Embed(s_targets, [0, 1, 0], x[0].Value, x[1].Value, 1.5)],
        }.With(Role.Weight, 1, 5, 4).With(Role.Weight, 1, 2, 4)),
        ["embedding with positions from row 2 on"] = (["TokenEmbedding"], () => new Agree
        {
            Fused = x => [TokenEmbedding.Forward(s_targets, new[] { 0, 1, 0 }, x[0].Parameter!, x[1].Parameter,
                x[0].Parameter!.Value.DType, firstPosition: 2)],
            Plain = x => [Plain.Embed(s_targets, [2, 3, 2], x[0].Value, x[1].Value)],
        }.With(Role.Weight, 1, 5, 4).With(Role.Weight, 1, 4, 4)),
        ["linear layer"] = (["LinearNode"], () => new Agree
        {
            Fused = x => [Linear.Forward(x[0].Value, x[1].Parameter!, x[2].Parameter)],
            Plain = x => [x[0].Value.Linear(x[1].Value, x[2].Value)],
        }.With(Role.Product, 1, 3, 4).With(Role.Weight, 1, 5, 4).With(Role.Weight, 1, 5)),
        ["linear layer with adapters"] = (["AdaptedLinear"], () => Adapted(Form.Plain)),
        ["linear layer with adapters that drop inputs"] = (["AdaptedLinear"], () => Adapted(Form.Dropout)),
        ["linear layer with magnitudes"] = (["AdaptedLinear"], () => Adapted(Form.Magnitude)),
        ["linear layer with magnitudes that drop inputs"] = (["AdaptedLinear"], () => Adapted(Form.Magnitude | Form.Dropout)),
        ["selected rows"] = (["RowSelect"], () => new Agree
        {
            Fused = x => [RowSelect.Forward(x[0].Value, new[] { 4, 0, 2 })],
            Plain = x => [Plain.Select(x[0].Value, [4, 0, 2])],
        }.With(Role.Product, 1, 5, 3)),
        ["numbers that a group puts together"] = (["Gathered"], () => new Agree
        {
            Fused = x => [Gathered.Of(x[0].Value, new[] { 3, 0, 2 }, 5, ThreadGroup.Alone)],
            Plain = x => [x[0].Value.View(1, 3).MatMul(Tensor.From<double>(
                [0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0], 3, 5).To(x[0].Value.DType)).View(5)],
        }.With(Role.Stream, 1, 3)),
        ["attention"] = (["RotaryAttention"], () => Attention(interleaved: false)),
        ["attention whose neighbours turn together"] = (["RotaryAttention"], () => Attention(interleaved: true)),
        ["attention with sinks"] = (["RotaryAttention"], () => Attention(interleaved: false, sinks: true)),
        ["rotation alone"] = (["RotaryTurn"], () => new Agree
        {
            Fused = x => [RotaryTurn.Forward(x[0].Value, Rotary(interleaved: true), new[] { 1, 3 }, 2, 5)],
            Plain = x => [Tensor.Cat([Plain.Rotate(x[0].Value.Narrow(1, 0, 10).Reshape(2, 2, 5), Rotary(interleaved: true),
                [1, 3]).Reshape(2, 10), x[0].Value.Narrow(1, 10, 5)], 1)],
        }.With(Role.Product, 1, 2, 15)),
        ["log-probabilities of a head with a bias"] = (["LinearLogProb"], () => new Agree
        {
            Fused = x => [LinearLogProb.LogProbs(x[0].Value, x[1].Parameter!, s_targets, Biased(x[2]))],
            Plain = x => [-Plain.Loss(x[0].Value, x[1].Value, s_targets, Biased(x[2]))],
        }.With(Role.Product, 1, 3, 4).With(Role.Weight, 1, 5, 4).With(Role.Weight, 1, 5)),
        ["weighted loss of a head with a bias"] = (["LinearLogProb"], () => new Agree
        {
            Fused = x => [LinearLogProb.WeightedLoss(x[0].Value, x[1].Parameter!, s_targets, [0.3, -0.2, 1.1], Biased(x[2]))],
            Plain = x => [(Plain.Loss(x[0].Value, x[1].Value, s_targets, Biased(x[2])) * Tensor.From([0.3, -0.2, 1.1])).Sum().Reshape(1)],
        }.With(Role.Product, 1, 3, 4).With(Role.Weight, 1, 5, 4).With(Role.Weight, 1, 5)),
        ["log-probabilities"] = (["LinearLogProb"], () => new Agree
        {
            Fused = x => [LinearLogProb.LogProbs(x[0].Value, x[1].Parameter!, s_targets, new() { SoftCap = 3 })],
            Plain = x => [-Plain.Loss(x[0].Value, x[1].Value, s_targets, new() { SoftCap = 3 })],
        }.With(Role.Product, 1, 3, 4).With(Role.Weight, 1, 5, 4)),
        ["weighted loss"] = (["LinearLogProb"], () => new Agree
        {
            Fused = x => [LinearLogProb.WeightedLoss(x[0].Value, x[1].Parameter!, s_targets, [0.3, -0.2, 1.1],
                new() { LabelSmoothing = 0.1 })],
            Plain = x => [(Plain.Loss(x[0].Value, x[1].Value, s_targets, new() { LabelSmoothing = 0.1 }) * Tensor.From([0.3, -0.2,
                1.1])).Sum().Reshape(1)],
        }.With(Role.Product, 1, 3, 4).With(Role.Weight, 1, 5, 4)),
        ["log-probabilities of a head with an adapter"] = (["LinearLogProb", "TokenDropout"], () => new Agree
        {
            Fused = x => [LinearLogProb.LogProbs(x[0].Value, HeadWith(x, 0.5), s_targets, new() { SoftCap = 3 }, noise: s_noise)],
            Plain = x => [-Plain.Loss(x[0].Value, x[1].Value, s_targets, new() { SoftCap = 3 }, PlainHead(x, 0.5))],
        }.With(Role.Product, 1, 3, 4).With(Role.Frozen, 1, 5, 4).With(Role.Weight, 1, 2, 4).With(Role.Weight, 1, 5, 2)),
        ["weighted loss of a head with an adapter"] = (["LinearLogProb"], () => new Agree
        {
            Fused = x => [LinearLogProb.WeightedLoss(x[0].Value, HeadWith(x, 0), s_targets, [0.3, -0.2, 1.1], new())],
            Plain = x => [(Plain.Loss(x[0].Value, x[1].Value, s_targets, new(), PlainHead(x, 0))
                * Tensor.From([0.3, -0.2, 1.1])).Sum().Reshape(1)],
        }.With(Role.Product, 1, 3, 4).With(Role.Frozen, 1, 5, 4).With(Role.Weight, 1, 2, 4).With(Role.Weight, 1, 5, 2)),
        ["log-probabilities of a head with magnitudes"] = (["LinearLogProb"], () =>
            HeadWithMagnitudes(new() { SoftCap = 3 }, (x, head, options) =>
            LinearLogProb.LogProbs(x, head, s_targets, options), loss => -loss)),
        ["weighted loss of a head with magnitudes"] = (["LinearLogProb"], () => HeadWithMagnitudes(new(), (x, head, options) =>
            LinearLogProb.WeightedLoss(x, head, s_targets, [0.3, -0.2, 1.1], options),
            loss => (loss * Tensor.From([0.3, -0.2, 1.1])).Sum().Reshape(1))),
        ["embedding with magnitudes"] = (["AdaptedTable"], EmbeddingWithMagnitudes),
        ["replaced rows"] = (["RowReplace"], () => new Agree
        {
            Fused = x => [RowReplace.Forward(x[0].Value, new[] { 3, 0 }, x[1].Value)],
            Plain = x => [Tensor.Cat([x[1].Value.Narrow(0, 1, 1), x[0].Value.Narrow(0, 1, 2), x[1].Value.Narrow(0, 0, 1),
                x[0].Value.Narrow(0, 4, 1)], 0)],
        }.With(Role.Product, 1, 5, 3).With(Role.Product, 1, 2, 3)),
        ["log-probabilities of a head with replaced rows"] = (["LinearLogProb"], () => new Agree
        {
            Fused = x => [LinearLogProb.LogProbs(x[0].Value, x[1].Parameter!.With([], new(x[2].Parameter!, [4, 1])), s_targets, new())],
            Plain = x => [-Plain.Loss(x[0].Value, WithRows(x[1].Value, x[2].Value), s_targets, new())],
        }.With(Role.Product, 1, 3, 4).With(Role.Frozen, 1, 5, 4).With(Role.Weight, 1, 2, 4)),
        ["weighted loss of a head with replaced rows"] = (["LinearLogProb"], () => new Agree
        {
            Fused = x => [LinearLogProb.WeightedLoss(x[0].Value, x[1].Parameter!.With([], new(x[2].Parameter!, [4, 1])), s_targets,
                [0.3, -0.2, 1.1], new())],
            Plain = x => [(Plain.Loss(x[0].Value, WithRows(x[1].Value, x[2].Value), s_targets, new())
                * Tensor.From([0.3, -0.2, 1.1])).Sum().Reshape(1)],
        }.With(Role.Product, 1, 3, 4).With(Role.Frozen, 1, 5, 4).With(Role.Weight, 1, 2, 4)),
        [InChunks] = (["LinearLogProb"], () => new Agree
        {
            Fused = x => [LinearLogProb.WeightedLoss(x[0].Value, x[1].Parameter!, s_many, Array.ConvertAll(s_many, t => t / 4e4), new())],
            Plain = x => [(Plain.Loss(x[0].Value, x[1].Value, s_many, new()) * Tensor.From(Array.ConvertAll(s_many,
                t => t / 4e4))).Sum().Reshape(1)],
        }.With(Role.Product, 1, 300, 2).With(Role.Weight, 1, 32003, 2)),
        ["known gradient"] = (["KnownGradient"], () => new Agree
        {
            Fused = x => [KnownGradient.Of(x[0].Value, x[0].Value.ToArray<double>().Sum(v => v * v),
                x[0].Value.ToArray<double>().Select(v => 2 * v).ToArray())],
            Plain = x => [(x[0].Value * x[0].Value).Sum().Reshape(1)],
        }.With(Role.Stream, 1, 6)),
        ["recomputed block"] = (["Recomputed"], () => new Agree
        {
            Fused = x => [.. Recomputed.Run(inputs => [inputs[0]! * inputs[1]!, null, Linear.Forward(inputs[0]!, x[2].Parameter!)],
                x[0].Value, x[1].Value).OfType<Tensor>()],
            Plain = x => [x[0].Value * x[1].Value, x[0].Value.Linear(x[2].Value)],
        }.With(Role.Stream, 1, 4, 3).With(Role.Stream, 1, 4, 3).With(Role.Weight, 1, 2, 3)),
        ["router with its spread"] = (["TopKRouter"], () => Router(normalize: true)),
        ["router without scaling"] = (["TopKRouter"], () => Router(normalize: false)),
        ["experts"] = (["ExpertDispatch", "ExpertCombine"], () => new Agree
        {
            Fused = x => [ExpertCombine.Forward(Squares(ExpertDispatch.Forward(x[0].Value, s_visits)), x[1].Value, s_visits)],
            Plain = x => [Plain.Combine(Squares(Plain.Dispatch(x[0].Value, s_visits)), x[1].Value, s_visits)],
        }.With(Role.Product, 1, 4, 3).With(Role.Stream, 1, 4, 2)),
        ["linear layers of experts"] = (["GroupedLinear"], () => GroupedLinearTests.Group(s_visits, inputs: 3, outputs: 5, biased: true)),
        ["linear layers of experts with adapters"] = (["GroupedLinear"], () => GroupedLinearTests.Adapted(s_visits, inputs: 3, outputs: 5)),
    };

    private static Tensor Squares(Tensor rows) => rows * rows;

    [Flags]
    private enum Form
    {
        Plain = 0,
        Dropout = 1,
        Magnitude = 2,
    }

    /// <summary>A layer [3, 4] → [3, 6] whose rows 0 to 1 and 3 to 5 have a part each, of ranks 2 and 1, below a second adapter over all
    /// rows.</summary>
    private static Agree Adapted(Form form)
    {
        var noise = new TokenNoise([11, 12, 13]);
        const double rate = 0.4;
        var drops = form.HasFlag(Form.Dropout);
        var magnitude = form.HasFlag(Form.Magnitude);
        return new Agree
        {
            Fused = x =>
            {
                var first = new LowRank
                {
                    Down = x[3].Parameter!,
                    Dropout = drops ? rate : 0,
                    Layer = 5,
                    Parts =
                    [
                        new() { Up = x[4].Parameter!, Scale = 2, Magnitude = magnitude ? x[6].Parameter : null },
                        new() { Up = x[5].Parameter!, UpBias = x[7].Parameter, RankStart = 2, RowStart = 3, Scale = 0.5 },
                    ],
                };
                var second = new LowRank
                {
                    Down = x[8].Parameter!,
                    Parts = [new() { Up = x[9].Parameter!, Scale = 1.5, Magnitude = magnitude ? x[10].Parameter : null }],
                };
                return [Linear.Forward(x[0].Value, x[1].Parameter!.With([first, second]), x[2].Parameter, noise)];
            },
            Plain = x =>
            {
                var w = x[1].Value;
                var added = Tensor.Cat([2 * x[4].Value.Mm(x[3].Value.Narrow(0, 0, 2)), Tensor.Zeros(w.DType, 1, 4),
                    0.5 * x[5].Value.Mm(x[3].Value.Narrow(0, 2, 1))], 0);
                var input = drops ? x[0].Value * Mask(noise.For(5).Host, rate).To(w.DType) : x[0].Value;
                var y = x[0].Value.Linear(w) + input.Linear(added);
                var whole = w + added;
                if (magnitude)
                {
                    var factor = x[6].Value * Length(whole.Narrow(0, 0, 2));
                    y = Tensor.Cat([y.Narrow(1, 0, 2) * factor, y.Narrow(1, 2, 4)], 1);
                    whole = Tensor.Cat([whole.Narrow(0, 0, 2) * factor.Detach().Reshape(2, 1), whole.Narrow(0, 2, 4)], 0);
                }
                y = Tensor.Cat([y.Narrow(1, 0, 3), y.Narrow(1, 3, 3) + 0.5 * x[7].Value], 1);
                var more = 1.5 * x[9].Value.Mm(x[8].Value);
                y = y + x[0].Value.Linear(more);
                if (magnitude)
                    y = y * (x[10].Value * Length(whole + more));
                else
                    y = y + 0 * x[10].Value + 0 * x[6].Value.Sum();
                return [y + x[2].Value];
            },
        }.With(Role.Product, 1, 3, 4).With(Role.Frozen, 1, 6, 4).With(Role.Weight, 1, 6).With(Role.Weight, 1, 3, 4).With(Role.Weight, 1, 2,
            2)
            .With(Role.Weight, 1, 3, 1).With(Role.Weight, 1, 2).With(Role.Weight, 1, 3).With(Role.Weight, 1, 2, 4).With(Role.Weight, 1, 6,
                2)
            .With(Role.Weight, 1, 6);

    }

    private static Tensor Length(Tensor matrix) => (matrix * matrix).Sum(1).Rsqrt().Detach();

    /// <summary>A head [3, 4] → [3, 5] below two adapters with magnitudes, the first with a bias.</summary>
    private static Agree HeadWithMagnitudes(HeadOptions options, Func<Tensor, Parameter, HeadOptions, Tensor> fused, Func<Tensor,
        Tensor> plain) =>
        new Agree
        {
            Fused = x => [fused(x[0].Value, x[1].Parameter!.With(
            [
                new LowRank
                {
                    Down = x[2].Parameter!,
                    Parts = [new() { Up = x[3].Parameter!, UpBias = x[4].Parameter, Magnitude = x[5].Parameter, Scale = 2 }],
                },
                new LowRank { Down = x[6].Parameter!, Parts = [new() { Up = x[7].Parameter!, Magnitude = x[8].Parameter, Scale = 1.5 }] },
            ]), options)],
            Plain = x =>
            {
                var (added, more) = (2 * x[3].Value.Mm(x[2].Value), 1.5 * x[7].Value.Mm(x[6].Value));
                var own = x[0].Value.Linear(x[1].Value);
                var factor = x[5].Value * Length(x[1].Value + added);
                var first = (own + x[0].Value.Linear(added) + 2 * x[4].Value) * factor;
                var second = (first + x[0].Value.Linear(more))
                    * (x[8].Value * Length((x[1].Value + added) * factor.Detach().Reshape(5, 1) + more));
                return [plain(Plain.Loss(x[0].Value, x[1].Value, s_targets, options, second - own))];
            },
        }.With(Role.Product, 1, 3, 4).With(Role.Frozen, 1, 5, 4).With(Role.Weight, 1, 2, 4).With(Role.Weight, 1, 5, 2).With(Role.Weight, 1,
            5)
            .With(Role.Weight, 1, 5).With(Role.Weight, 1, 1, 4).With(Role.Weight, 1, 5, 1).With(Role.Weight, 1, 5);

    /// <summary>A table [5, 4] below two adapters with magnitudes.</summary>
    private static Agree EmbeddingWithMagnitudes() => new Agree
    {
        Fused = x =>
        {
            var table = x[0].Parameter!.With(
            [
                new LowRank { Down = x[1].Parameter!, Parts = [new() { Up = x[2].Parameter!, Magnitude = x[3].Parameter, Scale = 2 }] },
                new LowRank { Down = x[4].Parameter!, Parts = [new() { Up = x[5].Parameter!, Magnitude = x[6].Parameter, Scale = 1.5 }] },
            ]);
            var type = x[0].Parameter!.Value.DType;
            var inverse = AdaptedTable.InverseNorms(table, type);
            var y = TokenEmbedding.Forward(s_targets, s_targets, table, null, type);
            foreach (var (adapter, i) in table.Adapters.Select((adapter, i) => (adapter, i)))
                y = AdaptedTable.Scale(y + Linear.InMaster(TokenEmbedding.Forward(s_targets, s_targets, adapter.Down, null, type),
                    adapter.Parts[0].Up) * adapter.Parts[0].Scale, adapter.Parts[0].Magnitude!, inverse[i]!);
            return [y];
        },
        Plain = x =>
        {
            var (added, more) = (2 * x[1].Value.Mm(x[2].Value.T()), 1.5 * x[4].Value.Mm(x[5].Value.T()));
            var factor = x[3].Value * Length((x[0].Value + added).T());
            var table = ((x[0].Value + added) * factor + more) * (x[6].Value * Length(((x[0].Value + added) * factor.Detach() + more).T()));
            return [Plain.Select(table, s_targets)];
        },
    }.With(Role.Frozen, 1, 5, 4).With(Role.Weight, 1, 5, 2).With(Role.Weight, 1, 4, 2).With(Role.Weight, 1, 4).With(Role.Weight, 1, 5, 1)
        .With(Role.Weight, 1, 4, 1).With(Role.Weight, 1, 4);

    /// <summary>The head with rows 4 and 1 replaced.</summary>
    private static Tensor WithRows(Tensor head, Tensor rows) => Tensor.Cat([head.Narrow(0, 0, 1), rows.Narrow(0, 1, 1),
        head.Narrow(0, 2, 2),
        rows.Narrow(0, 0, 1)], 0);

    private static readonly TokenNoise s_noise = new([21, 22, 23]);

    private static Tensor Mask(long[] keys, double rate) => Tensor.From([.. keys.SelectMany(key => Enumerable.Range(0, 4)
        .Select(column => DropoutKernel.Keeps(key, column, rate) ? 1 / (1 - rate) : 0))], keys.Length, 4);

    private static Parameter HeadWith(Operand[] x, double rate) => x[1].Parameter!.With([new LowRank
    {
        Down = x[2].Parameter!,
        Parts = [new() { Up = x[3].Parameter!, Scale = 2 }],
        Dropout = rate,
        Layer = 8,
    }]);

    /// <summary>What the adapter adds to the logits.</summary>
    private static Tensor PlainHead(Operand[] x, double rate) =>
        (rate == 0 ? x[0].Value : x[0].Value * Mask(s_noise.For(8).Host, rate).To(x[0].Value.DType)).Linear(2 * x[3].Value.Mm(x[2].Value));

    private static Agree Router(bool normalize) => new Agree
    {
        Fused = x =>
        {
            var (weights, _, spread) = TopKRouter.Forward(x[0].Value, new(2) { Normalizes = normalize }, new RouterTally(s_counts, 4));
            return [weights, spread!];
        },
        Plain = x =>
        {
            var (weights, spread) = Plain.Route(x[0].Value, TopKRouter.Forward(x[0].Value.Detach(), new(2) { Normalizes = normalize }).Routing,
                new(2) { Normalizes = normalize }, s_counts);
            return [weights, spread];
        },
    }.With(Role.Stream, 1.5, 3, 4);

    private static HeadOptions Biased(Operand bias) => new() { Bias = bias.Parameter, Scale = 0.7, SoftCap = 3 };

    private static Tensor InTurn(Tensor rows, Func<long, Tensor> norm) =>
        Tensor.Cat([.. Enumerable.Range(0, (int)rows.Size(0)).Select(row => norm(row))], 0);

    private static RotaryTable Rotary(bool interleaved) => new(new[] { 1f, 1, 0.5f, 0.9f, -0.4f, 0.6f, -1, 0.2f },
        new[] { 0f, 0, 0.8f, 0.4f, 0.9f, 0.8f, 0.1f, 1 }, 4, interleaved);

    private static Agree Attention(bool interleaved, bool sinks = false)
    {
        var shape = new AttentionShape { Heads = 2, KeyHeads = 1, HeadSize = 4, Scale = 0.5, SoftCap = 3 };
        var rotary = Rotary(interleaved);
        int[] positions = [0, 1, 2, 3, 2];                                             // a prompt of two tokens, answers of two and of one
        var visible = new bool[25];
        foreach (var (query, keys) in new (int, int[])[] { (0, [0]), (1, [0, 1]), (2, [0, 1, 2]), (3, [0, 1, 2, 3]), (4, [0, 1, 4]) })
            foreach (var key in keys)
                visible[query * 5 + key] = true;
        var agree = new Agree
        {
            Fused = x => [RotaryAttention.Forward(x[0].Value * 1, shape, new(SegmentTable.Create([0, 2, 4], [2, 2, 1], [-1, 0, 0])),
                positions, rotary, sinks ? x[1].Parameter : null)],
            Plain = x => [Plain.Attend(x[0].Value, shape, visible, positions, rotary, sinks ? x[1].Value : null)],
        }.With(Role.Product, 1, 5, 16);
        return sinks ? agree.With(Role.Weight, 1, 2) : agree;
    }

    private static Agree Norm(Func<Operand[], Tensor[]> fused, Func<Operand[], Tensor[]> plain) =>
        new Agree { Fused = fused, Plain = plain }.With(Role.Stream, 1, 3, 5).With(Role.Product, 1, 3, 5);

    private static Func<Operand[], Tensor[]> Tuple(Func<Operand[], (Tensor Residual, Tensor Output)> norm) => x =>
    {
        var (residual, output) = norm(x);
        return [residual, output];
    };

    public static TheoryData<string> Names() => [.. All.Keys];

    /// <summary>Those that go on any device: Gloo's groups reach the host's memory alone.</summary>
    public static TheoryData<string> NamesOnDevices() => [.. All.Keys.Where(name => !All[name].Nodes.Contains("Gathered") && name != InChunks)];

    /// <summary>The one of many logits.</summary>
    internal const string InChunks = "weighted loss in several chunks";

    internal static Agree Operation(string name) => All[name].Operation();

    [Theory, MemberData(nameof(Names))]
    public void Any_gradient_factor_a_second_backward_and_frozen_inputs_are_legal(string name) => All[name].Operation().CheckUses();

    [Fact]
    public void Every_node_is_among_them()
    {
        var nodes = typeof(AutogradNode).Assembly.GetTypes().Where(type => type.IsSubclassOf(typeof(AutogradNode)));
        Assert.Equal(nodes.Select(type => type.Name).Order(), All.Values.SelectMany(entry => entry.Nodes).Distinct().Order());
    }
}
