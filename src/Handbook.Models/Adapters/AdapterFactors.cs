using Handbook.Base;
using Handbook.Torch;

namespace Handbook.Models.Adapters;

/// <summary>What one adapter changes in one layer: s·B·A, with a weight.</summary>
/// <param name="Down">A; [r, in], float64.</param>
/// <param name="Up">B; [out, r], float64.</param>
/// <param name="Weight">The weight times s.</param>
internal sealed record AdapterFactors(Tensor Down, Tensor Up, double Weight)
{
    public long Rank => Down.Size(0);

    /// <summary>Those of one expert, where all lie in A and B: <see cref="ExpertStack"/>.</summary>
    public AdapterFactors Of(int expert, int experts)
    {
        var rank = Rank / experts;
        return this with
        {
            Down = Down.Narrow(0, expert * rank, rank),
            Up = Up.Reshape(Up.Size(0), rank, experts).Narrow(2, expert, 1).Reshape(Up.Size(0), rank),
        };
    }

    /// <summary>One change out of those of several adapters, its factor 1.</summary>
    /// <param name="all">Of one layer.</param>
    /// <param name="module">The layer's path.</param>
    /// <param name="rank">Rank of a decomposition.</param>
    /// <exception cref="InputException">A and B are summed by themselves, and the ranks differ.</exception>
    public static (Tensor Down, Tensor Up) Combine(IReadOnlyList<AdapterFactors> all, string module, CombinationMethod method,
        CombinationOptions options, long rank)
    {
        using var scope = TensorScope.Enter();
        var (down, up) = method.Space switch
        {
            CombinationSpace.Ranks => Beside(all),
            CombinationSpace.Products when method.Pruning == ChangePruning.Nothing => Largest(Beside(all), rank),
            CombinationSpace.Products => Largest(Summed(all, factors => factors.Up.Mm(factors.Down), factors => factors.Weight, method,
                options, module), rank),
            _ => ByFactors(all, module, method, options),
        };
        return (scope.Keep(down.Contiguous()), scope.Keep(up.Contiguous()));
    }

    private static (Tensor Down, Tensor Up) Beside(IReadOnlyList<AdapterFactors> all) =>
        (Tensor.Cat([.. all.Select(factors => factors.Down * factors.Weight)], 0), Tensor.Cat([.. all.Select(factors => factors.Up)], 1));

    /// <summary>√|w| goes to A and to B, and the sign to B alone.</summary>
    private static (Tensor Down, Tensor Up) ByFactors(IReadOnlyList<AdapterFactors> all, string module, CombinationMethod method,
        CombinationOptions options)
    {
        if (all.Select(factors => factors.Rank).Distinct().Count() > 1)
            throw new InputException($"{module}: the adapters have the ranks {string.Join(" and ", all.Select(factors => factors.Rank))}",
                why: $"{method.Name} sums their matrices element by element", fix: method.Name == "linear"
                    ? "combine them with --cat, which is exact, or with --svd" : $"combine them with --{method.Name.Replace('_', '-')}-svd");
        return (Summed(all, factors => factors.Down, factors => Math.Sqrt(Math.Abs(factors.Weight)), method, options, module + " A"),
            Summed(all, factors => factors.Up, factors => Math.Sign(factors.Weight) * Math.Sqrt(Math.Abs(factors.Weight)), method, options,
                module + " B"));
    }

    private static Tensor Summed(IReadOnlyList<AdapterFactors> all, Func<AdapterFactors, Tensor> change, Func<AdapterFactors, double> weight,
        CombinationMethod method, CombinationOptions options, string name)
    {
        Tensor[] changes = [.. all.Select(change)];
        return Tensor.From(ChangeSum.Of([.. changes.Select(tensor => tensor.Contiguous().ToArray<double>())], [.. all.Select(weight)], method, options,
            name), [.. changes[0].Shape]);
    }

    /// <summary>The nearest product of a rank to a matrix: U·Σ is B, Vᵀ is A.</summary>
    private static (Tensor Down, Tensor Up) Largest(Tensor matrix, long rank)
    {
        var (left, values, right) = matrix.Svd();
        var count = Math.Min(rank, values.Size(0));
        return (right.Narrow(0, 0, count), left.Narrow(1, 0, count) * values.Narrow(0, 0, count));
    }

    /// <summary>The same of a product B·A, from the small matrix between the orthonormal parts of B and Aᵀ.</summary>
    private static (Tensor Down, Tensor Up) Largest((Tensor Down, Tensor Up) product, long rank)
    {
        var (up, between) = product.Up.Qr();
        var (down, other) = product.Down.T().Qr();
        var (right, left) = Largest(between.Mm(other.T()), rank);
        return (right.Mm(down.T()), up.Mm(left));
    }
}
