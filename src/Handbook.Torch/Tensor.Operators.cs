namespace Handbook.Torch;

/// <summary>
/// The operators, one line each: PyTorch's names in PascalCase, in-place ones end in <c>InPlace</c>, <c>out=</c> ones in <c>Into</c>.
/// </summary>
public sealed partial class Tensor
{
    private static class Ops
    {
        public static readonly TorchOperator Empty = TorchOperator.Find("aten::empty", "memory_format");
        public static readonly TorchOperator Zeros = TorchOperator.Find("aten::zeros");
        public static readonly TorchOperator Full = TorchOperator.Find("aten::full");
        public static readonly TorchOperator ZerosLike = TorchOperator.Find("aten::zeros_like");
        public static readonly TorchOperator EmptyLike = TorchOperator.Find("aten::empty_like");
        public static readonly TorchOperator ToDType = TorchOperator.Find("aten::to", "dtype");
        public static readonly TorchOperator ToDevice = TorchOperator.Find("aten::to", "device");
        public static readonly TorchOperator Contiguous = TorchOperator.Find("aten::contiguous");
        public static readonly TorchOperator Clone = TorchOperator.Find("aten::clone");
        public static readonly TorchOperator Detach = TorchOperator.Find("aten::detach");
        public static readonly TorchOperator Copy = TorchOperator.Find("aten::copy_");
        public static readonly TorchOperator PinMemory = TorchOperator.Find("aten::pin_memory");
        public static readonly TorchOperator View = TorchOperator.Find("aten::view");
        public static readonly TorchOperator Reshape = TorchOperator.Find("aten::reshape");
        public static readonly TorchOperator Transpose = TorchOperator.Find("aten::transpose", "int");
        public static readonly TorchOperator T = TorchOperator.Find("aten::t");
        public static readonly TorchOperator Permute = TorchOperator.Find("aten::permute");
        public static readonly TorchOperator Unsqueeze = TorchOperator.Find("aten::unsqueeze");
        public static readonly TorchOperator Squeeze = TorchOperator.Find("aten::squeeze", "dim");
        public static readonly TorchOperator Slice = TorchOperator.Find("aten::slice", "Tensor");
        public static readonly TorchOperator Narrow = TorchOperator.Find("aten::narrow");
        public static readonly TorchOperator Select = TorchOperator.Find("aten::select", "int");
        public static readonly TorchOperator Cat = TorchOperator.Find("aten::cat");
        public static readonly TorchOperator RepeatInterleave = TorchOperator.Find("aten::repeat_interleave", "self_int");
        public static readonly TorchOperator IndexSelect = TorchOperator.Find("aten::index_select");
        public static readonly TorchOperator IndexAdd = TorchOperator.Find("aten::index_add_");
        public static readonly TorchOperator Gather = TorchOperator.Find("aten::gather");
        public static readonly TorchOperator Where = TorchOperator.Find("aten::where", "self");
        public static readonly TorchOperator MaskedFill = TorchOperator.Find("aten::masked_fill", "Scalar");
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
        public static readonly TorchOperator Qr = TorchOperator.Find("aten::linalg_qr");
        public static readonly TorchOperator Rsqrt = TorchOperator.Find("aten::rsqrt");
        public static readonly TorchOperator Exp = TorchOperator.Find("aten::exp");
        public static readonly TorchOperator LogAddExp = TorchOperator.Find("aten::logaddexp");
        public static readonly TorchOperator Tanh = TorchOperator.Find("aten::tanh");
        public static readonly TorchOperator Sigmoid = TorchOperator.Find("aten::sigmoid");
        public static readonly TorchOperator LogSigmoid = TorchOperator.Find("aten::log_sigmoid");
        public static readonly TorchOperator Silu = TorchOperator.Find("aten::silu");
        public static readonly TorchOperator Relu = TorchOperator.Find("aten::relu");
        public static readonly TorchOperator Gelu = TorchOperator.Find("aten::gelu");
        public static readonly TorchOperator Clamp = TorchOperator.Find("aten::clamp");
        public static readonly TorchOperator Abs = TorchOperator.Find("aten::abs");
        public static readonly TorchOperator Sum = TorchOperator.Find("aten::sum");
        public static readonly TorchOperator SumDims = TorchOperator.Find("aten::sum", "dim_IntList");
        public static readonly TorchOperator Mean = TorchOperator.Find("aten::mean");
        public static readonly TorchOperator MeanDims = TorchOperator.Find("aten::mean", "dim");
        public static readonly TorchOperator Max = TorchOperator.Find("aten::max");
        public static readonly TorchOperator MaxDims = TorchOperator.Find("aten::amax");
        public static readonly TorchOperator Round = TorchOperator.Find("aten::round");
        public static readonly TorchOperator AtLeast = TorchOperator.Find("aten::ge", "Scalar");
        public static readonly TorchOperator Softmax = TorchOperator.Find("aten::softmax", "int");
        public static readonly TorchOperator LogSoftmax = TorchOperator.Find("aten::log_softmax", "int");
        public static readonly TorchOperator MatMul = TorchOperator.Find("aten::matmul");
        public static readonly TorchOperator Mm = TorchOperator.Find("aten::mm");
        public static readonly TorchOperator MmInto = TorchOperator.Find("aten::mm", "out");
        public static readonly TorchOperator AddMmInPlace = TorchOperator.Find("aten::addmm_");
        public static readonly TorchOperator Svd = TorchOperator.Find("aten::linalg_svd");
        public static readonly TorchOperator Embedding = TorchOperator.Find("aten::embedding");
        public static readonly TorchOperator Linear = TorchOperator.Find("aten::linear");
        public static readonly TorchOperator Fill = TorchOperator.Find("aten::fill_", "Scalar");
        public static readonly TorchOperator Zero = TorchOperator.Find("aten::zero_");
        public static readonly TorchOperator Equal = TorchOperator.Find("aten::equal");
        public static readonly TorchOperator IsFinite = TorchOperator.Find("aten::isfinite");
        public static readonly TorchOperator All = TorchOperator.Find("aten::all");
    }

    // ---- making --------------------------------------------------------------------------------------------------

    /// <summary>Memory of any content.</summary>
    public static Tensor Empty(DType dtype, Device device, params long[] shape) => Ops.Empty.Call(shape, dtype, Value.None, device);

    /// <summary>Zeros on a device.</summary>
    public static Tensor Zeros(DType dtype, Device device, params long[] shape) => Ops.Zeros.Call(shape, dtype, Value.None, device);

    /// <summary>Zeros on the CPU.</summary>
    public static Tensor Zeros(DType dtype, params long[] shape) => Zeros(dtype, Device.Cpu, shape);

    /// <summary>One value everywhere, on the CPU.</summary>
    public static Tensor Full(double value, DType dtype, params long[] shape) => Ops.Full.Call(shape, value, dtype, Value.None, Device.Cpu);

    /// <summary>Zeros of this shape, type and place.</summary>
    public Tensor ZerosLike() => Ops.ZerosLike.Call(this);

    /// <summary>Memory of this shape, type and place, of any content.</summary>
    public Tensor EmptyLike() => Ops.EmptyLike.Call(this);

    // ---- type, place, layout -------------------------------------------------------------------------------------

    /// <summary>The elements in another type, rounded; this tensor itself where it has the type.</summary>
    public Tensor To(DType dtype) => Ops.ToDType.Call(this, dtype);

    /// <summary>The elements on another device; this tensor itself where it is there.</summary>
    public Tensor To(Device device) => Ops.ToDevice.Call(this, device, DType);

    /// <summary>The same without waiting: the host may read or change neither side before the device has done it. From and to memory of the
    /// host that is not <see cref="Pinned"/> it waits after all.</summary>
    internal Tensor ToNonBlocking(Device device) => Ops.ToDevice.Call(this, device, DType, true);

    /// <summary>A copy in memory of the host that a GPU reads and writes by itself.</summary>
    /// <exception cref="TorchException">There is no GPU.</exception>
    internal Tensor Pinned() => Ops.PinMemory.Call(this);

    /// <summary>The elements in row-major order without gaps; this tensor itself where they are.</summary>
    public Tensor Contiguous() => Ops.Contiguous.Call(this);

    /// <summary>A copy.</summary>
    public Tensor Clone() => Ops.Clone.Call(this);

    /// <summary>The same memory outside the graph.</summary>
    public Tensor Detach() => Ops.Detach.Call(this);

    /// <summary>Overwrites the elements with those of <paramref name="source"/>, converted; shapes are broadcast.</summary>
    public void CopyFrom(Tensor source) => Ops.Copy.Run(this, source);

    /// <summary>The same without waiting, as <see cref="ToNonBlocking"/>.</summary>
    internal void CopyFromNonBlocking(Tensor source) => Ops.Copy.Run(this, source, true);

    /// <summary>The same memory under another shape of as many elements, without gaps; −1 for what follows from the rest.</summary>
    public Tensor View(params long[] shape) => Ops.View.Call(this, shape);

    /// <summary>The same elements under another shape, copied where they have gaps; −1 for what follows from the rest.</summary>
    public Tensor Reshape(params long[] shape) => Ops.Reshape.Call(this, shape);

    /// <summary>Two dimensions swapped, without a copy.</summary>
    public Tensor Transpose(int first, int second) => Ops.Transpose.Call(this, first, second);

    /// <summary>A matrix with rows and columns swapped, without a copy.</summary>
    public Tensor T() => Ops.T.Call(this);

    /// <summary>The dimensions in another order, without a copy.</summary>
    public Tensor Permute(params long[] dims) => Ops.Permute.Call(this, dims);

    /// <summary>A dimension of size 1 before dimension <paramref name="dim"/>.</summary>
    public Tensor Unsqueeze(int dim) => Ops.Unsqueeze.Call(this, dim);

    /// <summary>Without dimension <paramref name="dim"/> where its size is 1.</summary>
    public Tensor Squeeze(int dim) => Ops.Squeeze.Call(this, dim);

    /// <summary>
    /// Every <paramref name="step"/>-th index of a dimension from <paramref name="start"/> to before <paramref name="end"/>; shares memory.
    /// </summary>
    public Tensor Slice(int dim, long start, long end, long step = 1) => Ops.Slice.Call(this, dim, start, end, step);

    /// <summary><paramref name="length"/> indices of a dimension from <paramref name="start"/> on; shares memory.</summary>
    public Tensor Narrow(int dim, long start, long length) => Ops.Narrow.Call(this, dim, start, length);

    /// <summary>One index of a dimension, which goes; shares memory.</summary>
    public Tensor Select(int dim, long index) => Ops.Select.Call(this, dim, index);

    /// <summary>Tensors behind one another along a dimension.</summary>
    public static Tensor Cat(Tensor[] tensors, int dim = 0) => Ops.Cat.Call(tensors, dim);

    /// <summary>Each index of a dimension <paramref name="repeats"/> times, side by side.</summary>
    public Tensor RepeatInterleave(long repeats, int dim) => Ops.RepeatInterleave.Call(this, repeats, dim);

    /// <summary>The indices of a dimension that a list [M] names.</summary>
    public Tensor IndexSelect(int dim, Tensor index) => Ops.IndexSelect.Call(this, dim, index);

    /// <summary>Adds rows, or columns, to those of some numbers, in place.</summary>
    internal void IndexAddInPlace(int dim, Tensor index, Tensor source) => Ops.IndexAdd.Run(this, dim, index, source);

    /// <summary>
    /// Along a dimension, the elements that <paramref name="index"/> names: for dim 1, result[i, j] = this[i, index[i, j]].
    /// </summary>
    public Tensor Gather(int dim, Tensor index) => Ops.Gather.Call(this, dim, index);

    /// <summary><paramref name="yes"/> where the condition holds, <paramref name="no"/> elsewhere.</summary>
    public static Tensor Where(Tensor condition, Tensor yes, Tensor no) => Ops.Where.Call(condition, yes, no);

    /// <summary><paramref name="value"/> where the mask is true.</summary>
    public Tensor MaskedFill(Tensor mask, double value) => Ops.MaskedFill.Call(this, mask, value);

    // ---- arithmetic ----------------------------------------------------------------------------------------------

    /// <summary>The sum of elements; shapes are broadcast.</summary>
    public static Tensor operator +(Tensor a, Tensor b) => Ops.AddTensor.Call(a, b);

    /// <summary>The sum of every element and a number.</summary>
    public static Tensor operator +(Tensor a, double b) => Ops.AddScalar.Call(a, b);

    /// <summary>The sum of a number and every element.</summary>
    public static Tensor operator +(double a, Tensor b) => Ops.AddScalar.Call(b, a);

    /// <summary>The difference of elements; shapes are broadcast.</summary>
    public static Tensor operator -(Tensor a, Tensor b) => Ops.SubTensor.Call(a, b);

    /// <summary>The difference of every element and a number.</summary>
    public static Tensor operator -(Tensor a, double b) => Ops.AddScalar.Call(a, -b);

    /// <summary>The difference of a number and every element.</summary>
    public static Tensor operator -(double a, Tensor b) => Ops.RsubScalar.Call(b, a);

    /// <summary>The product of elements; shapes are broadcast.</summary>
    public static Tensor operator *(Tensor a, Tensor b) => Ops.MulTensor.Call(a, b);

    /// <summary>The product of every element and a number.</summary>
    public static Tensor operator *(Tensor a, double b) => Ops.MulScalar.Call(a, b);

    /// <summary>The product of a number and every element.</summary>
    public static Tensor operator *(double a, Tensor b) => Ops.MulScalar.Call(b, a);

    /// <summary>The quotient of elements; shapes are broadcast.</summary>
    public static Tensor operator /(Tensor a, Tensor b) => Ops.DivTensor.Call(a, b);

    /// <summary>The quotient of every element and a number.</summary>
    public static Tensor operator /(Tensor a, double b) => Ops.DivScalar.Call(a, b);

    /// <summary>Minus every element.</summary>
    public static Tensor operator -(Tensor a) => Ops.Neg.Call(a);

    /// <summary>Adds <paramref name="scale"/> · <paramref name="other"/> to this tensor.</summary>
    public void AddInPlace(Tensor other, double scale = 1) => Ops.AddInPlace.Run(this, other, scale);

    /// <summary>Multiplies every element.</summary>
    public void MulInPlace(double factor) => Ops.MulInPlace.Run(this, factor);

    /// <summary>xʸ of every element.</summary>
    public Tensor Pow(double exponent) => Ops.Pow.Call(this, exponent);

    /// <summary>1/√x of every element.</summary>
    public Tensor Rsqrt() => Ops.Rsqrt.Call(this);

    /// <summary>√x of every element.</summary>
    internal Tensor Sqrt() => Ops.Sqrt.Call(this);

    /// <summary>eˣ of every element.</summary>
    public Tensor Exp() => Ops.Exp.Call(this);

    /// <summary>log(eˣ + eʸ) of every two elements.</summary>
    internal Tensor LogAddExp(Tensor other) => Ops.LogAddExp.Call(this, other);

    /// <summary>tanh x of every element.</summary>
    public Tensor Tanh() => Ops.Tanh.Call(this);

    /// <summary>max(−limit, min(x, limit)) of every element; beyond the limit there is no gradient.</summary>
    internal Tensor Clamp(double limit) => Ops.Clamp.Call(this, -limit, limit);

    /// <summary>|x| of every element.</summary>
    public Tensor Abs() => Ops.Abs.Call(this);

    /// <summary>The nearest whole number of every element; of two the even one.</summary>
    internal Tensor Round() => Ops.Round.Call(this);

    /// <summary>Where an element is as large as a number, or larger; a mask.</summary>
    internal Tensor IsAtLeast(double least) => Ops.AtLeast.Call(this, least);

    /// <summary>σ(x) = 1/(1 + e⁻ˣ) of every element.</summary>
    public Tensor Sigmoid() => Ops.Sigmoid.Call(this);

    /// <summary>log σ(x) in its stable form.</summary>
    public Tensor LogSigmoid() => Ops.LogSigmoid.Call(this);

    /// <summary>x · σ(x) of every element.</summary>
    public Tensor Silu() => Ops.Silu.Call(this);

    /// <summary>max(0, x) of every element.</summary>
    public Tensor Relu() => Ops.Relu.Call(this);

    /// <summary>x · Φ(x) of every element.</summary>
    /// <param name="tanh">The tanh approximation (<c>gelu_new</c>) instead of the error function.</param>
    public Tensor Gelu(bool tanh) => Ops.Gelu.Call(this, tanh ? "tanh" : "none");

    // ---- reductions ----------------------------------------------------------------------------------------------

    /// <summary>The sum of all elements; a single value.</summary>
    public Tensor Sum() => Ops.Sum.Call(this);

    /// <summary>Sums along a dimension, which goes, or stays with size 1.</summary>
    public Tensor Sum(int dim, bool keepDim = false) => Ops.SumDims.Call(this, (long[])[dim], keepDim);

    /// <summary>The mean of all elements; a single value.</summary>
    public Tensor Mean() => Ops.Mean.Call(this);

    /// <summary>Means along a dimension, which goes, or stays with size 1.</summary>
    public Tensor Mean(int dim, bool keepDim = false) => Ops.MeanDims.Call(this, (long[])[dim], keepDim);

    /// <summary>The largest element; a single value.</summary>
    public Tensor Max() => Ops.Max.Call(this);

    /// <summary>The largest along a dimension, which stays with size 1.</summary>
    internal Tensor MaxAlong(int dim) => Ops.MaxDims.Call(this, (long[])[dim], true);

    /// <summary>eˣ / Σ eˣ along a dimension.</summary>
    public Tensor Softmax(int dim) => Ops.Softmax.Call(this, dim);

    /// <summary>log( eˣ / Σ eˣ ) along a dimension.</summary>
    public Tensor LogSoftmax(int dim) => Ops.LogSoftmax.Call(this, dim);

    /// <summary>Same element type, shape and values, bit for bit where no NaN occurs.</summary>
    public bool ValueEquals(Tensor other) => Ops.Equal.Number(this, other) != 0;

    /// <summary>Whether no element is NaN or infinite.</summary>
    public bool IsAllFinite()
    {
        using var scope = TensorScope.Enter();
        return Ops.All.Call(Ops.IsFinite.Call(this)).ToScalar() != 0;
    }

    // ---- products ------------------------------------------------------------------------------------------------

    /// <summary>The product of the last two dimensions; those before are broadcast.</summary>
    public Tensor MatMul(Tensor other) => Ops.MatMul.Call(this, other);

    /// <summary>[M, K] · [K, N].</summary>
    public Tensor Mm(Tensor other) => Ops.Mm.Call(this, other);

    /// <summary>[M, K] · [K, N] into an existing [M, N].</summary>
    public void MmInto(Tensor other, Tensor result) => Ops.MmInto.Run(this, other, result);

    /// <summary>this = beta · this + first · second.</summary>
    public void AddMmInPlace(Tensor first, Tensor second, double beta = 1) => Ops.AddMmInPlace.Run(this, first, second, beta);

    /// <summary>The singular value decomposition of a matrix [M, N] without the parts that are never used: U [M, R], the values [R],
    /// descending, and Vᵀ [R, N], with R the smaller of M and N.</summary>
    internal (Tensor Left, Tensor Values, Tensor Right) Svd() =>
        Ops.Svd.CallMany(this, false, Value.None) is [var left, var values, var right] ? (left, values, right)
            : throw new TorchException("linalg_svd did not give three tensors");

    /// <summary>this · weightᵀ (+ bias), with weight [out, in].</summary>
    public Tensor Linear(Tensor weight, Tensor? bias = null) => Ops.Linear.Call(this, weight, bias);

    /// <summary>Rows of a table; this is the table [V, D].</summary>
    public Tensor Embedding(Tensor ids) => Ops.Embedding.Call(this, ids);

    /// <summary>Q and R with this = Q · R, Q's columns orthonormal; [M, K], [K, N] with K = min(M, N).</summary>
    internal (Tensor Q, Tensor R) Qr() => Ops.Qr.CallMany(this, "reduced") is [var q, var r]
        ? (q, r) : throw new TorchException("linalg_qr did not give two tensors");

    // ---- filling -------------------------------------------------------------------------------------------------

    /// <summary>Sets every element.</summary>
    public void FillInPlace(double value) => Ops.Fill.Run(this, value);

    /// <summary>Sets every element to 0.</summary>
    public void ZeroInPlace() => Ops.Zero.Run(this);
}
