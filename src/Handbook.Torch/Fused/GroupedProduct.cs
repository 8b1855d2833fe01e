using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>The products of experts with the rows of their own tokens, which stand behind one another, outside the graph.</summary>
/// <remarks><see cref="GroupedProductKernel"/> computes them side by side where it can; else <see cref="Product"/> and
/// <see cref="WeightOperand"/> do one after another.</remarks>
internal static unsafe class GroupedProduct
{
    /// <summary>y_e = x_e · W_eᵀ + b_e.</summary>
    /// <param name="x">[M, in], contiguous.</param>
    /// <param name="weights">[out, in] each.</param>
    /// <param name="biases">Of an expert [out], null for none.</param>
    /// <returns>[M, out], in the element type of x.</returns>
    public static Tensor Linear(Tensor x, Routing routing, WeightOperand[] weights, Func<int, Tensor?> biases)
    {
        var y = Tensor.Empty(x.DType, x.Device, x.Size(0), weights[0].Rows);
        using var scope = TensorScope.Enter();
        Run(x, y, routing, weights, weight => (weight.Stride(1), weight.Stride(0), weight.Size(0)), biases, (e, some, into) =>
        {
            if (weights[e].Matrix is { } matrix && x.Device.IsCpu)
                Product.Into(some, matrix.Detach().T(), into, biases(e));
            else
                into.CopyFrom(weights[e].Linear(some, biases(e)));
        });
        return y;
    }

    /// <summary>dx_e = dy_e · W_e.</summary>
    /// <param name="dy">[M, out], contiguous.</param>
    /// <param name="inputs">Columns of each weight.</param>
    /// <returns>[M, in], in the element type of dy.</returns>
    public static Tensor Of(Tensor dy, Routing routing, WeightOperand[] weights, long inputs)
    {
        var dx = Tensor.Empty(dy.DType, dy.Device, dy.Size(0), inputs);
        using var scope = TensorScope.Enter();
        Run(dy, dx, routing, weights, weight => (weight.Stride(0), weight.Stride(1), weight.Size(1)), _ => null, (e, some, into) =>
        {
            if (weights[e].Matrix is { } matrix && dy.Device.IsCpu)
                Product.Into(some, matrix.Detach(), into);
            else
                into.CopyFrom(weights[e].Of(some));
        });
        return dx;
    }

    /// <summary>Adds dy_eᵀ · x_e to the gradients of those weights that are trained.</summary>
    /// <param name="dy">[M, out], contiguous.</param>
    /// <param name="x">[M, in], contiguous.</param>
    public static void AddToGradients(Tensor dy, Tensor x, Routing routing, Parameter[] weights)
    {
        var jobs = new List<ProductJob>();
        for (var e = 0; e < weights.Length; e++)
        {
            if (!weights[e].IsTrainable || routing.Count[e] == 0)
                continue;
            using var scope = TensorScope.Enter();
            var sum = weights[e].Gradient!;
            if (!x.Device.IsCpu || sum.DType != DType.Float32 || sum.Stride(1) != 1 || !GroupedProductKernel.Suits(dy.DType, x.DType,
                sum.DType))
            {
                weights[e].AddProduct(Rows(dy, routing, e).T(), Rows(x, routing, e));
                continue;
            }
            jobs.Add(new()
            {
                Left = Row(dy, routing.Start[e]),
                LeftRow = 1,
                LeftTerm = (nint)dy.Size(1),
                Right = Row(x, routing.Start[e]),
                RightTerm = (nint)x.Size(1),
                RightColumn = 1,
                Result = sum.Pointer<float>(),
                ResultRow = (nint)sum.Stride(0),
                Rows = (int)dy.Size(1),
                Terms = routing.Count[e],
                Columns = (int)x.Size(1),
                IsWide = true,
                Add = weights[e].HasGradient,
            });
            weights[e].HasGradient = true;
        }
        if (jobs.Count > 0)
            GroupedProductKernel.Run([.. jobs], dy.DType, x.DType);
    }

    /// <summary>The rows of one expert.</summary>
    public static Tensor Rows(Tensor sorted, Routing routing, int expert) => sorted.Narrow(0, routing.Start[expert], routing.Count[expert]);

    /// <param name="sides">Of a weight the elements between terms, and between columns, and how many columns there are.</param>
    /// <param name="alone">One expert's product into its rows of the result.</param>
    private static void Run(Tensor left, Tensor result, Routing routing, WeightOperand[] weights,
        Func<Tensor, (long Term, long Column, long Columns)> sides, Func<int, Tensor?> biases, Action<int, Tensor, Tensor> alone)
    {
        var jobs = new List<ProductJob>();
        for (var e = 0; e < weights.Length; e++)
        {
            if (routing.Count[e] == 0)
                continue;
            if (!left.Device.IsCpu || weights[e].Matrix is not { } weight || !GroupedProductKernel.Suits(left.DType, weight.DType,
                result.DType))
            {
                using var scope = TensorScope.Enter();
                alone(e, Rows(left, routing, e), Rows(result, routing, e));
                continue;
            }
            var (term, column, columns) = sides(weight);
            // the scope around holds the bias in float32 until the kernel has read it
            var bias = biases(e)?.To(DType.Float32).Contiguous();
            jobs.Add(new()
            {
                Left = Row(left, routing.Start[e]),
                LeftRow = (nint)left.Size(1),
                LeftTerm = 1,
                Right = weight.Data,
                RightTerm = (nint)term,
                RightColumn = (nint)column,
                Bias = bias is null ? null : bias.Pointer<float>(),
                Result = Row(result, routing.Start[e]),
                ResultRow = (nint)result.Size(1),
                Rows = routing.Count[e],
                Terms = (int)left.Size(1),
                Columns = (int)columns,
                IsWide = result.DType == DType.Float32,
            });
        }
        if (jobs.Count > 0)
            GroupedProductKernel.Run([.. jobs], left.DType, weights.First(weight => weight.Matrix is not null).Matrix!.DType);
    }

    private static void* Row(Tensor matrix, long row) => (byte*)matrix.Data + row * matrix.Size(1) * matrix.DType.Size;
}
