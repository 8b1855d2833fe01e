namespace Handbook.Torch;

/// <summary>The operators, one line each: PyTorch's names in PascalCase, in-place ones end in <c>InPlace</c>, <c>out=</c> ones in <c>Into</c>.</summary>
public sealed partial class Tensor
{
    private static class Ops
    {
        public static readonly TorchOperator Empty = TorchOperator.Find("aten::empty", "memory_format");
        public static readonly TorchOperator Zeros = TorchOperator.Find("aten::zeros");
        public static readonly TorchOperator Full = TorchOperator.Find("aten::full");
        public static readonly TorchOperator Arange = TorchOperator.Find("aten::arange", "start_step");
        public static readonly TorchOperator ZerosLike = TorchOperator.Find("aten::zeros_like");
        public static readonly TorchOperator EmptyLike = TorchOperator.Find("aten::empty_like");
        public static readonly TorchOperator ToDType = TorchOperator.Find("aten::to", "dtype");
        public static readonly TorchOperator ToDevice = TorchOperator.Find("aten::to", "device");
        public static readonly TorchOperator Contiguous = TorchOperator.Find("aten::contiguous");
        public static readonly TorchOperator Clone = TorchOperator.Find("aten::clone");
        public static readonly TorchOperator Detach = TorchOperator.Find("aten::detach");
        public static readonly TorchOperator Copy = TorchOperator.Find("aten::copy_");
        public static readonly TorchOperator View = TorchOperator.Find("aten::view");
        public static readonly TorchOperator Reshape = TorchOperator.Find("aten::reshape");
        public static readonly TorchOperator Transpose = TorchOperator.Find("aten::transpose", "int");
        public static readonly TorchOperator T = TorchOperator.Find("aten::t");
        public static readonly TorchOperator Permute = TorchOperator.Find("aten::permute");
        public static readonly TorchOperator Unsqueeze = TorchOperator.Find("aten::unsqueeze");
        public static readonly TorchOperator Squeeze = TorchOperator.Find("aten::squeeze", "dim");
        public static readonly TorchOperator Expand = TorchOperator.Find("aten::expand");
        public static readonly TorchOperator Slice = TorchOperator.Find("aten::slice", "Tensor");
        public static readonly TorchOperator Narrow = TorchOperator.Find("aten::narrow");
        public static readonly TorchOperator Select = TorchOperator.Find("aten::select", "int");
        public static readonly TorchOperator Cat = TorchOperator.Find("aten::cat");
        public static readonly TorchOperator Stack = TorchOperator.Find("aten::stack");
        public static readonly TorchOperator RepeatInterleave = TorchOperator.Find("aten::repeat_interleave", "self_int");
        public static readonly TorchOperator IndexSelect = TorchOperator.Find("aten::index_select");
        public static readonly TorchOperator IndexAdd = TorchOperator.Find("aten::index_add_");
        public static readonly TorchOperator Gather = TorchOperator.Find("aten::gather");
        public static readonly TorchOperator Where = TorchOperator.Find("aten::where", "self");
        public static readonly TorchOperator MaskedFill = TorchOperator.Find("aten::masked_fill", "Scalar");
        public static readonly TorchOperator Tril = TorchOperator.Find("aten::tril");
        public static readonly TorchOperator AddTensor = TorchOperator.Find("aten::add", "Tensor");
        public static readonly TorchOperator AddScalar = TorchOperator.Find("aten::add", "Scalar");
        public static readonly TorchOperator AddInPlace = TorchOperator.Find("aten::add_", "Tensor");
        public static readonly TorchOperator SubTensor = TorchOperator.Find("aten::sub", "Tensor");
        public static readonly TorchOperator RsubScalar = TorchOperator.Find("aten::rsub", "Scalar");
        public static readonly TorchOperator MulTensor = TorchOperator.Find("aten::mul", "Tensor");
        public static readonly TorchOperator MulScalar = TorchOperator.Find("aten::mul", "Scalar");
        public static readonly TorchOperator MulInPlace = TorchOperator.Find("aten::mul_", "Scalar");
        public static readonly TorchOperator DivTensor = TorchOperator.Find("aten::div", "Tensor");
        public static readonly TorchOperator DivScalar = TorchOperator.Find("aten::div", "Scalar");
        public static readonly TorchOperator Neg = TorchOperator.Find("aten::neg");
        public static readonly TorchOperator Pow = TorchOperator.Find("aten::pow", "Tensor_Scalar");
        public static readonly TorchOperator Sqrt = TorchOperator.Find("aten::sqrt");
        public static readonly TorchOperator Rsqrt = TorchOperator.Find("aten::rsqrt");
        public static readonly TorchOperator Exp = TorchOperator.Find("aten::exp");
        public static readonly TorchOperator Log = TorchOperator.Find("aten::log");
        public static readonly TorchOperator Sin = TorchOperator.Find("aten::sin");
        public static readonly TorchOperator Cos = TorchOperator.Find("aten::cos");
        public static readonly TorchOperator Tanh = TorchOperator.Find("aten::tanh");
        public static readonly TorchOperator Erf = TorchOperator.Find("aten::erf");
        public static readonly TorchOperator Sigmoid = TorchOperator.Find("aten::sigmoid");
        public static readonly TorchOperator LogSigmoid = TorchOperator.Find("aten::log_sigmoid");
        public static readonly TorchOperator Silu = TorchOperator.Find("aten::silu");
        public static readonly TorchOperator Relu = TorchOperator.Find("aten::relu");
        public static readonly TorchOperator Gelu = TorchOperator.Find("aten::gelu");
        public static readonly TorchOperator Abs = TorchOperator.Find("aten::abs");
        public static readonly TorchOperator Clamp = TorchOperator.Find("aten::clamp");
        public static readonly TorchOperator Sum = TorchOperator.Find("aten::sum");
        public static readonly TorchOperator SumDims = TorchOperator.Find("aten::sum", "dim_IntList");
        public static readonly TorchOperator Mean = TorchOperator.Find("aten::mean");
        public static readonly TorchOperator MeanDims = TorchOperator.Find("aten::mean", "dim");
        public static readonly TorchOperator Max = TorchOperator.Find("aten::max");
        public static readonly TorchOperator Argmax = TorchOperator.Find("aten::argmax");
        public static readonly TorchOperator LogSumExp = TorchOperator.Find("aten::logsumexp");
        public static readonly TorchOperator Softmax = TorchOperator.Find("aten::softmax", "int");
        public static readonly TorchOperator LogSoftmax = TorchOperator.Find("aten::log_softmax", "int");
        public static readonly TorchOperator MatMul = TorchOperator.Find("aten::matmul");
        public static readonly TorchOperator Mm = TorchOperator.Find("aten::mm");
        public static readonly TorchOperator MmInto = TorchOperator.Find("aten::mm", "out");
        public static readonly TorchOperator AddMm = TorchOperator.Find("aten::addmm");
        public static readonly TorchOperator AddMmInPlace = TorchOperator.Find("aten::addmm_");
        public static readonly TorchOperator Embedding = TorchOperator.Find("aten::embedding");
        public static readonly TorchOperator Linear = TorchOperator.Find("aten::linear");
        public static readonly TorchOperator Fill = TorchOperator.Find("aten::fill_", "Scalar");
        public static readonly TorchOperator Zero = TorchOperator.Find("aten::zero_");
        public static readonly TorchOperator Uniform = TorchOperator.Find("aten::uniform_");
        public static readonly TorchOperator Equal = TorchOperator.Find("aten::equal");
        public static readonly TorchOperator IsFinite = TorchOperator.Find("aten::isfinite");
        public static readonly TorchOperator All = TorchOperator.Find("aten::all");
        public static readonly TorchOperator Eq = TorchOperator.Find("aten::eq", "Tensor");
        public static readonly TorchOperator GeScalar = TorchOperator.Find("aten::ge", "Scalar");
    }

    // ---- making --------------------------------------------------------------------------------------------------

    public static Tensor Empty(DType dtype, Device device, params long[] shape) => Ops.Empty.Call(shape, dtype, Value.None, device);

    public static Tensor Zeros(DType dtype, Device device, params long[] shape) => Ops.Zeros.Call(shape, dtype, Value.None, device);

    public static Tensor Zeros(DType dtype, params long[] shape) => Zeros(dtype, Device.Cpu, shape);

    public static Tensor Full(double value, DType dtype, params long[] shape) => Ops.Full.Call(shape, value, dtype, Value.None, Device.Cpu);

    public static Tensor Arange(long start, long end, DType dtype = DType.Int64) => Ops.Arange.Call(start, end, 1, dtype, Value.None, Device.Cpu);

    public Tensor ZerosLike() => Ops.ZerosLike.Call(this);

    public Tensor EmptyLike() => Ops.EmptyLike.Call(this);

    // ---- type, place, layout -------------------------------------------------------------------------------------

    public Tensor To(DType dtype) => Ops.ToDType.Call(this, dtype);

    public Tensor To(Device device) => Ops.ToDevice.Call(this, device, DType);

    public Tensor Contiguous() => Ops.Contiguous.Call(this);

    public Tensor Clone() => Ops.Clone.Call(this);

    /// <summary>The same memory outside the graph.</summary>
    public Tensor Detach() => Ops.Detach.Call(this);

    public void CopyFrom(Tensor source) => Ops.Copy.Run(this, source);

    public Tensor View(params long[] shape) => Ops.View.Call(this, shape);

    public Tensor Reshape(params long[] shape) => Ops.Reshape.Call(this, shape);

    public Tensor Transpose(int first, int second) => Ops.Transpose.Call(this, first, second);

    /// <summary>A matrix with rows and columns swapped, without a copy.</summary>
    public Tensor T() => Ops.T.Call(this);

    public Tensor Permute(params long[] dims) => Ops.Permute.Call(this, dims);

    public Tensor Unsqueeze(int dim) => Ops.Unsqueeze.Call(this, dim);

    public Tensor Squeeze(int dim) => Ops.Squeeze.Call(this, dim);

    public Tensor Expand(params long[] shape) => Ops.Expand.Call(this, shape);

    public Tensor Slice(int dim, long start, long end, long step = 1) => Ops.Slice.Call(this, dim, start, end, step);

    public Tensor Narrow(int dim, long start, long length) => Ops.Narrow.Call(this, dim, start, length);

    public Tensor Select(int dim, long index) => Ops.Select.Call(this, dim, index);

    public static Tensor Cat(Tensor[] tensors, int dim = 0) => Ops.Cat.Call(tensors, dim);

    public static Tensor Stack(Tensor[] tensors, int dim = 0) => Ops.Stack.Call(tensors, dim);

    public Tensor RepeatInterleave(long repeats, int dim) => Ops.RepeatInterleave.Call(this, repeats, dim);

    public Tensor IndexSelect(int dim, Tensor index) => Ops.IndexSelect.Call(this, dim, index);

    public void IndexAddInPlace(int dim, Tensor index, Tensor source) => Ops.IndexAdd.Run(this, dim, index, source);

    public Tensor Gather(int dim, Tensor index) => Ops.Gather.Call(this, dim, index);

    public static Tensor Where(Tensor condition, Tensor yes, Tensor no) => Ops.Where.Call(condition, yes, no);

    public Tensor MaskedFill(Tensor mask, double value) => Ops.MaskedFill.Call(this, mask, value);

    public Tensor Tril(int diagonal = 0) => Ops.Tril.Call(this, diagonal);

    // ---- arithmetic ----------------------------------------------------------------------------------------------

    public static Tensor operator +(Tensor a, Tensor b) => Ops.AddTensor.Call(a, b);

    public static Tensor operator +(Tensor a, double b) => Ops.AddScalar.Call(a, b);

    public static Tensor operator +(double a, Tensor b) => Ops.AddScalar.Call(b, a);

    public static Tensor operator -(Tensor a, Tensor b) => Ops.SubTensor.Call(a, b);

    public static Tensor operator -(Tensor a, double b) => Ops.AddScalar.Call(a, -b);

    public static Tensor operator -(double a, Tensor b) => Ops.RsubScalar.Call(b, a);

    public static Tensor operator *(Tensor a, Tensor b) => Ops.MulTensor.Call(a, b);

    public static Tensor operator *(Tensor a, double b) => Ops.MulScalar.Call(a, b);

    public static Tensor operator *(double a, Tensor b) => Ops.MulScalar.Call(b, a);

    public static Tensor operator /(Tensor a, Tensor b) => Ops.DivTensor.Call(a, b);

    public static Tensor operator /(Tensor a, double b) => Ops.DivScalar.Call(a, b);

    public static Tensor operator -(Tensor a) => Ops.Neg.Call(a);

    /// <summary>Adds <paramref name="scale"/> · <paramref name="other"/> to this tensor.</summary>
    public void AddInPlace(Tensor other, double scale = 1) => Ops.AddInPlace.Run(this, other, scale);

    public void MulInPlace(double factor) => Ops.MulInPlace.Run(this, factor);

    public Tensor Pow(double exponent) => Ops.Pow.Call(this, exponent);

    public Tensor Sqrt() => Ops.Sqrt.Call(this);

    public Tensor Rsqrt() => Ops.Rsqrt.Call(this);

    public Tensor Exp() => Ops.Exp.Call(this);

    public Tensor Log() => Ops.Log.Call(this);

    public Tensor Sin() => Ops.Sin.Call(this);

    public Tensor Cos() => Ops.Cos.Call(this);

    public Tensor Tanh() => Ops.Tanh.Call(this);

    public Tensor Erf() => Ops.Erf.Call(this);

    public Tensor Abs() => Ops.Abs.Call(this);

    public Tensor Clamp(double minimum, double maximum) => Ops.Clamp.Call(this, minimum, maximum);

    public Tensor Sigmoid() => Ops.Sigmoid.Call(this);

    /// <summary>log σ(x) in its stable form.</summary>
    public Tensor LogSigmoid() => Ops.LogSigmoid.Call(this);

    public Tensor Silu() => Ops.Silu.Call(this);

    public Tensor Relu() => Ops.Relu.Call(this);

    /// <param name="tanh">The tanh approximation (<c>gelu_new</c>) instead of the error function.</param>
    public Tensor Gelu(bool tanh) => Ops.Gelu.Call(this, tanh ? "tanh" : "none");

    // ---- reductions ----------------------------------------------------------------------------------------------

    public Tensor Sum() => Ops.Sum.Call(this);

    public Tensor Sum(int dim, bool keepDim = false) => Ops.SumDims.Call(this, (long[])[dim], keepDim);

    public Tensor Mean() => Ops.Mean.Call(this);

    public Tensor Mean(int dim, bool keepDim = false) => Ops.MeanDims.Call(this, (long[])[dim], keepDim);

    public Tensor Max() => Ops.Max.Call(this);

    public Tensor Argmax(int dim) => Ops.Argmax.Call(this, dim);

    public Tensor LogSumExp(int dim, bool keepDim = false) => Ops.LogSumExp.Call(this, (long[])[dim], keepDim);

    public Tensor Softmax(int dim) => Ops.Softmax.Call(this, dim);

    public Tensor LogSoftmax(int dim) => Ops.LogSoftmax.Call(this, dim);

    /// <summary>Same element type, shape and values, bit for bit where no NaN occurs.</summary>
    public bool ValueEquals(Tensor other) => Ops.Equal.Number(this, other) != 0;

    /// <summary>Whether no element is NaN or infinite.</summary>
    public bool IsAllFinite()
    {
        using var scope = TensorScope.Enter();
        return Ops.All.Call(Ops.IsFinite.Call(this)).ToScalar() != 0;
    }

    public Tensor Eq(Tensor other) => Ops.Eq.Call(this, other);

    public Tensor Ge(double value) => Ops.GeScalar.Call(this, value);

    // ---- products ------------------------------------------------------------------------------------------------

    public Tensor MatMul(Tensor other) => Ops.MatMul.Call(this, other);

    /// <summary>[M, K] · [K, N].</summary>
    public Tensor Mm(Tensor other) => Ops.Mm.Call(this, other);

    /// <summary>[M, K] · [K, N] into an existing [M, N].</summary>
    public void MmInto(Tensor other, Tensor result) => Ops.MmInto.Run(this, other, result);

    /// <summary>bias + this · other.</summary>
    public Tensor AddMm(Tensor first, Tensor second) => Ops.AddMm.Call(this, first, second);

    /// <summary>this = beta · this + first · second.</summary>
    public void AddMmInPlace(Tensor first, Tensor second, double beta = 1) => Ops.AddMmInPlace.Run(this, first, second, beta);

    /// <summary>this · weightᵀ (+ bias), with weight [out, in].</summary>
    public Tensor Linear(Tensor weight, Tensor? bias = null) => Ops.Linear.Call(this, weight, bias);

    /// <summary>Rows of a table; this is the table [V, D].</summary>
    public Tensor Embedding(Tensor ids) => Ops.Embedding.Call(this, ids);

    // ---- filling -------------------------------------------------------------------------------------------------

    public void FillInPlace(double value) => Ops.Fill.Run(this, value);

    public void ZeroInPlace() => Ops.Zero.Run(this);

    public void UniformInPlace(double from, double to) => Ops.Uniform.Run(this, from, to);
}
