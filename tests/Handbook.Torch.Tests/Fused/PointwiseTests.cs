using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Reference;

namespace Handbook.Torch.Tests.Fused;

public sealed class PointwiseTests
{
    private static Agree Activate(Activation activation, bool gated, int rows, int width, GateForm form = default) => new Agree
    {
        Fused = x => [GatedActivation.Forward(x[0].Value, activation, gated, form)],
        Plain = x => [Plain.Activate(x[0].Value, activation, gated, form)],
    }.With(Role.Product, 2, rows, gated ? 2 * width : width);

    public static TheoryData<Activation> Activations() => new(Enum.GetValues<Activation>());

    [Theory, MemberData(nameof(Activations))]
    public void Activations_agree_with_ordinary_operators(Activation activation)
    {
        foreach (var (rows, width) in new[] { (1, 1), (3, 7), (40, 48) })
            foreach (var gated in new[] { true, false })
                Activate(activation, gated, rows, width).Check();
        Activate(activation, gated: true, 2, 3).CheckDifferences();
    }

    [Fact]
    public void Gate_and_up_are_limited_before_they_meet()
    {
        foreach (var (rows, width) in new[] { (1, 1), (3, 7), (40, 48) })
            foreach (var form in new[] { new GateForm(1.3, 1), new GateForm(0, 1), new GateForm(2, 0) })
                Activate(Activation.QuickGelu, gated: true, rows, width, form).Check();
        Activate(Activation.QuickGelu, gated: true, 2, 3, new(1.3, 1)).CheckDifferences();
    }

    [Theory, InlineData(1, 1, 1), InlineData(9, 3, 5), InlineData(200, 31, 16)]
    public void Embeddings_agree_with_ordinary_operators(int tokens, int vocabulary, int width)
    {
        var random = new Random(tokens);
        int[] ids = [.. Enumerable.Range(0, tokens).Select(_ => random.Next(vocabulary))], positions = [.. Enumerable.Range(0,
            tokens).Select(i => i % 4)];
        var plain = new Agree
        {
            Fused = x => [TokenEmbedding.Forward(ids, positions, x[0].Parameter!, null, x[0].Parameter!.Value.DType, 1.5)],
            Plain = x => [Plain.Embed(ids, positions, x[0].Value, null, 1.5)],
        }.With(Role.Weight, 1, vocabulary, width);
        plain.Check();
        var learned = new Agree
        {
            Fused = x => [TokenEmbedding.Forward(ids, positions, x[0].Parameter!, x[1].Parameter, x[0].Parameter!.Value.DType)],
            Plain = x => [Plain.Embed(ids, positions, x[0].Value, x[1].Value)],
        }.With(Role.Weight, 1, vocabulary, width).With(Role.Weight, 1, 4, width);
        learned.Check();
        if (tokens < 20)
            learned.CheckDifferences();
    }

    [Theory, InlineData(1, 1, 1), InlineData(5, 3, 7), InlineData(64, 50, 33)]
    public void Linear_layers_agree_with_ordinary_operators(int rows, int inputs, int outputs)
    {
        var layer = new Agree
        {
            Fused = x => [Linear.Forward(x[0].Value, x[1].Parameter!, x[2].Parameter)],
            Plain = x => [x[0].Value.Linear(x[1].Value, x[2].Value)],
        }.With(Role.Product, 1, rows, inputs).With(Role.Weight, 0.3, outputs, inputs).With(Role.Weight, 1, outputs);
        layer.Check();
        if (rows < 10)
            layer.CheckDifferences();
    }

    [Fact]
    public void Selected_rows_agree_with_ordinary_operators()
    {
        int[] rows = [4, 0, 2];
        new Agree
        {
            Fused = x => [RowSelect.Forward(x[0].Value, rows)],
            Plain = x => [Plain.Select(x[0].Value, rows)],
        }.With(Role.Product, 1, 5, 3).Check();
    }

    [Fact]
    public void A_block_computed_again_gives_the_same_gradients()
    {
        new Agree
        {
            Fused = x => [.. Recomputed.Run(inputs => [inputs[0]! * inputs[1]!, null, (inputs[0]! + inputs[1]!).Tanh()], x[0].Value,
                x[1].Value).OfType<Tensor>()],
            Plain = x => [x[0].Value * x[1].Value, (x[0].Value + x[1].Value).Tanh()],
        }.With(Role.Stream, 1, 4, 3).With(Role.Stream, 1, 4, 3).Check();
    }
}
