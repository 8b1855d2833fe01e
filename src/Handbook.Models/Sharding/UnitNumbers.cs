using System.Globalization;

namespace Handbook.Models.Sharding;

/// <summary>The units of a model that are gathered, and whose gradients are added up, at once: its tables, each layer, its head; and what
/// is small and used everywhere, which stays.</summary>
/// <param name="layers">Layers of the model.</param>
internal readonly struct UnitNumbers(int layers)
{
    private const string LayerPrefix = "layers.";

    /// <summary>The tables of tokens and positions; the head too, where it is tied to them.</summary>
    public static int Tables => 0;

    /// <summary>The matrices of a layer.</summary>
    public static int Layer(int index) => index + 1;

    /// <summary>The head, where it is a matrix of its own.</summary>
    public int Head => layers + 1;

    /// <summary>Norms and biases of all layers, and the projections from tables of a width of their own and back.</summary>
    public int Small => layers + 2;

    public int Count => layers + 3;

    /// <summary>All of them, in the order in which a backward pass is done with them.</summary>
    public IEnumerable<int> Backward => [.. Enumerable.Range(1, layers + 1).Reverse(), Small, Tables];

    /// <summary>Where a unit stands in <see cref="Backward"/>.</summary>
    public int PlaceBackward(int unit) => unit == Tables ? Head + 1 : unit == Small ? Head : Head - unit;

    /// <summary>The unit of a parameter.</summary>
    public int Of(ParameterSpec spec) =>
        spec.NoWeightDecay || spec.Name.StartsWith(ParameterSpec.Projection, StringComparison.Ordinal) ? Small
        : spec.Name.StartsWith(LayerPrefix, StringComparison.Ordinal) ? Layer(LayerOf(spec.Name))
        : spec.IsTable ? Tables : Head;

    /// <summary>Units of a model with these parameters.</summary>
    public static UnitNumbers For(IEnumerable<ParameterSpec> specs) => new(specs.Select(spec => spec.Name)
        .Where(name => name.StartsWith(LayerPrefix, StringComparison.Ordinal)).Select(name => LayerOf(name) + 1).DefaultIfEmpty().Max());

    private static int LayerOf(string name)
    {
        var rest = name.AsSpan(LayerPrefix.Length);
        return int.Parse(rest[..rest.IndexOf('.')], NumberStyles.None, CultureInfo.InvariantCulture);
    }
}
