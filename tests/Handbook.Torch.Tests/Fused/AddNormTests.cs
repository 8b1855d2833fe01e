using Handbook.Torch.Fused;
using Handbook.Torch.Reference;

namespace Handbook.Torch.Tests.Fused;

public sealed class AddNormTests
{
    private const double Epsilon = 1e-2;        // large, so that rows of one element are not all rounding

    private static DType Product(Operand[] operands) => operands.Length > 1 && operands[1].Parameter is null
        ? operands[1].Value.DType : operands[0].Value.DType;

    private static Agree Rms(int rows, int width, bool delta, int offset) => Inputs(new Agree
    {
        Fused = x => Both(AddNorm.Rms(x[0].Value, delta ? x[1].Value : null, x[^1].Parameter!, Epsilon, Product(x), offset)),
        Plain = x =>
        {
            var h = delta ? x[0].Value + x[1].Value : x[0].Value * 1;
            return [h, Plain.RmsNorm(h, x[^1].Value, Epsilon, offset)];
        },
    }, rows, width, delta).With(Role.Weight, 1, width);

    private static Agree Layer(int rows, int width, bool delta, bool bias) => Biased(Inputs(new Agree
    {
        Fused = x =>
            Both(AddNorm.Layer(x[0].Value, delta ? x[1].Value : null, x[delta ? 2 : 1].Parameter!, bias ? x[^1].Parameter : null, Epsilon,
            Product(x))),
        Plain = x =>
        {
            var h = delta ? x[0].Value + x[1].Value : x[0].Value * 1;
            return [h, Plain.LayerNorm(h, x[delta ? 2 : 1].Value, bias ? x[^1].Value : null, Epsilon)];
        },
    }, rows, width, delta).With(Role.Weight, 1, width), bias, width);

    private static Agree Inputs(Agree agree, int rows, int width, bool delta)
    {
        agree.With(Role.Stream, 1, rows, width);
        return delta ? agree.With(Role.Product, 1, rows, width) : agree;
    }

    private static Agree Biased(Agree agree, bool bias, int width) => bias ? agree.With(Role.Weight, 1, width) : agree;

    private static Tensor[] Both((Tensor Residual, Tensor Output) pair) => [pair.Residual, pair.Output];

    [Theory, InlineData(1, 1), InlineData(3, 7), InlineData(1, 64), InlineData(33, 50)]
    public void Norms_agree_with_ordinary_operators(int rows, int width)
    {
        Rms(rows, width, delta: true, 0).Check();
        Rms(rows, width, delta: false, 1).Check();
        Layer(rows, width, delta: true, bias: true).Check();
        Layer(rows, width, delta: false, bias: false).Check();
    }

    [Fact]
    public void Gradients_match_finite_differences()
    {
        Rms(2, 5, delta: true, 1).CheckDifferences();
        Layer(2, 5, delta: true, bias: true).CheckDifferences();
    }
}
