namespace Handbook.Torch.Fused;

/// <summary>The linear layers of experts, y_e = x_e · W_eᵀ + b_e, each over the rows of its own tokens, with their adapters.</summary>
/// <remarks>Kernel: <see cref="GroupedProduct"/>. Gradients of weights are summed where they are kept.</remarks>
internal sealed class GroupedLinear : AutogradNode
{
    private readonly Routing _routing;
    private readonly Parameter[] _weights;
    private readonly Parameter[]? _biases;
    private readonly WeightOperand[] _operands;
    private readonly AdapterWork?[] _adapters;
    private readonly bool _inputNeedsGrad;
    private int _inputs;
    private Tensor? _x;         // trained weights and adapters need it

    private GroupedLinear(Routing routing, Parameter[] weights, Parameter[]? biases, Func<int, TokenNoise?> noise, bool inputNeedsGrad)
    {
        (_routing, _weights, _biases, _inputNeedsGrad) = (routing, weights, biases, inputNeedsGrad);
        _operands = Array.ConvertAll(weights, weight => weight.Operand);
        _adapters = [.. weights.Select((weight, e) => weight.Adapters.Count == 0 || routing.Count[e] == 0 ? null
            : new AdapterWork(weight, noise(e)))];
    }

    /// <param name="x">The rows of each expert behind one another; [M, in], contiguous.</param>
    /// <param name="weights">Of each expert, [out, in].</param>
    /// <param name="biases">Of each expert, [out]; null for none.</param>
    /// <param name="noise">For the dropout of adapters; null computes without.</param>
    /// <returns>[M, out], in the element type of x.</returns>
    public static Tensor Forward(Tensor x, Routing routing, Parameter[] weights, Parameter[]? biases, TokenNoise? noise = null)
    {
        using var scope = TensorScope.Enter();
        Parameter[] trained = [.. weights.SelectMany((weight, e) => weight.Adapters.SelectMany(adapter => adapter.Parameters)
            .Append(weight).Concat(biases is null ? [] : [biases[e]])).Where(parameter => parameter.IsTrainable)];
        Tensor?[] inputs = [x, .. trained.Select(parameter => parameter.Value)];
        var needed = IsNeeded(inputs);
        var tokens = noise is null ? null : routing.Tokens();
        var node = new GroupedLinear(routing, weights, biases, e => noise?.Select(tokens.AsSpan(routing.Start[e], routing.Count[e])),
            needed && x.RequiresGrad)
        { _inputs = inputs.Length };
        for (var e = 0; e < weights.Length; e++)
            if (weights[e].InputObserver is { } observer && routing.Count[e] > 0)
                observer(x.Narrow(0, routing.Start[e], routing.Count[e]));
        Tensor y;
        using (GradMode.Disabled())
            y = node.Run(x, needed);
        if (needed)
        {
            if (weights.Any(weight => weight.IsTrainable) || node._adapters.Any(adapter => adapter is not null))
                node._x = node.Save(x);
            node.Attach(inputs, y);
        }
        return scope.Keep(y);
    }

    private Tensor Run(Tensor x, bool keep)
    {
        var exact = RowExact.IsEnabled && !keep;
        var y = exact ? RowByRow(x) : GroupedProduct.Linear(x, _routing, _operands, Bias);
        for (var e = 0; e < _weights.Length; e++)
            if (_adapters[e] is { } adapters)
            {
                using var scope = TensorScope.Enter();
                var rows = GroupedProduct.Rows(y, _routing, e);
                adapters.Add(GroupedProduct.Rows(x, _routing, e), rows, keep ? Save : null, exact);
                if (adapters.Scales && _biases is not null)
                    rows.AddInPlace(_biases[e].Compute.Detach());
            }
        return y;
    }

    /// <summary>What is added to the product itself: the bias, but where adapters scale what it is added to.</summary>
    private Tensor? Bias(int expert) => _adapters[expert] is { Scales: true } ? null : _biases?[expert].Compute.Detach();

    private Tensor RowByRow(Tensor x)
    {
        var y = Tensor.Empty(x.DType, x.Device, x.Size(0), _operands[0].Rows);
        for (var e = 0; e < _weights.Length; e++)
            if (_routing.Count[e] > 0)
            {
                using var scope = TensorScope.Enter();
                GroupedProduct.Rows(y, _routing, e).CopyFrom(_operands[e].RowByRow(GroupedProduct.Rows(x, _routing, e), Bias(e), x.DType));
            }
        return y;
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!.Contiguous();
        for (var e = 0; _biases is not null && e < _biases.Length; e++)
            if (_biases[e] is { IsTrainable: true } bias && _routing.Count[e] > 0)
            {
                using var scope = TensorScope.Enter();
                bias.Add(GroupedProduct.Rows(dy, _routing, e).To(bias.Gradient!.DType).Sum(0));
            }
        if (_adapters.Any(adapter => adapter is { Scales: true }))
            dy = dy.Clone();
        var lows = _adapters.Select((adapter, e) => adapter?.Share(GroupedProduct.Rows(_x!, _routing, e),
            GroupedProduct.Rows(dy, _routing, e))).ToArray();
        if (_x is not null)
            GroupedProduct.AddToGradients(dy, _x, _routing, _weights);
        Tensor? dx = null;
        if (_inputNeedsGrad)
        {
            dx = GroupedProduct.Of(dy, _routing, _operands, _weights[0].Value.Size(1));
            for (var e = 0; e < lows.Length; e++)
                if (lows[e] is { } some)
                    _adapters[e]!.AddInput(some, GroupedProduct.Rows(dx, _routing, e));
        }
        return [dx, .. new Tensor?[_inputs - 1]];
    }
}
