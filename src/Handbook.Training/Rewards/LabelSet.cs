using Handbook.Base;
using Handbook.Models;

namespace Handbook.Training.Rewards;

/// <summary>What the numbers of a classifier's head mean, by <c>problem_type</c> in config.json.</summary>
internal enum LabelKind
{
    /// <summary>One label is right: softmax.</summary>
    One,

    /// <summary>Each label may be right (<c>multi_label_classification</c>): σ of each.</summary>
    Several,

    /// <summary>They are what is asked for (<c>regression</c>).</summary>
    Numbers,
}

/// <summary>The labels of a classifier.</summary>
/// <param name="Names">As <c>id2label</c> names them.</param>
/// <param name="Kind">What the head's numbers mean.</param>
internal sealed record LabelSet(IReadOnlyList<string> Names, LabelKind Kind)
{
    private const double Half = 0.5;

    /// <summary>Columns with what was found; to each a suffix says of which answer.</summary>
    public string[] Columns => Kind switch
    {
        LabelKind.One => ["label", "probabilities"],
        LabelKind.Several => ["labels", "probabilities"],
        _ => ["values"],
    };

    /// <summary>The labels of a model; null where it is a reward model or a language model.</summary>
    /// <param name="folder">Its folder, for the message.</param>
    /// <exception cref="InputException">Two labels have one name, or the kind is not known.</exception>
    public static LabelSet? Of(PublishedConfig config, string folder)
    {
        if (config.Labels is not > 1)
            return null;
        var names = config.LabelNames;
        if (names.GroupBy(name => name).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new InputException($"{folder}: id2label in config.json names two labels \"{twice.Key}\"",
                why: "their probabilities could not be told apart", fix: "give each label a name of its own");
        return new(names, (string?)config.Json["problem_type"] switch
        {
            null or "single_label_classification" => LabelKind.One,
            "multi_label_classification" => LabelKind.Several,
            "regression" => LabelKind.Numbers,
            var other => throw new InputException($"{folder}: problem_type in config.json is \"{other}\", which is not known",
                fix: "write single_label_classification, multi_label_classification or regression"),
        });
    }

    /// <summary>What is written of the head's numbers: a value for each label.</summary>
    public double[] Values(double[] logits)
    {
        if (Kind == LabelKind.Numbers)
            return logits;
        if (Kind == LabelKind.Several)
            return Array.ConvertAll(logits, logit => 1 / (1 + Math.Exp(-logit)));
        var most = logits.Max();
        var weights = Array.ConvertAll(logits, logit => Math.Exp(logit - most));
        var sum = weights.Sum();
        return Array.ConvertAll(weights, weight => weight / sum);
    }

    /// <summary>The labels that hold: the likeliest one, or each that is likelier than not.</summary>
    /// <param name="values">What <see cref="Values"/> gave.</param>
    public IEnumerable<string> Chosen(double[] values) => Kind switch
    {
        LabelKind.One => [Names[Array.IndexOf(values, values.Max())]],
        LabelKind.Several => Names.Where((_, label) => values[label] > Half),
        _ => [],
    };
}
