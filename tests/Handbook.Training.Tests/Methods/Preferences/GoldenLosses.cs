using System.Globalization;
using System.Text.Json;
using Handbook.Base.Keys;
using Handbook.Testing;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Tests.Methods.Preferences;

/// <summary>Finds and reads the reference's loss values.</summary>
internal static class GoldenLosses
{
    /// <summary>What a case may hold that says how rows were cut and run, not what the loss is.</summary>
    private static readonly HashSet<string> s_notOfTheLoss =
        ["use_logits_to_keep", "padding_free", "max_length", "truncation_mode", "max_prompt_length", "max_completion_length",
            "router_aux_loss_coef"];

    /// <summary>The folders <c>golden/losses*</c>.</summary>
    public static IEnumerable<string> Folders() =>
        SharedFiles.Folders("golden").Where(folder => Path.GetFileName(folder).StartsWith("losses", StringComparison.Ordinal));

    /// <summary>A path below the golden folder, as tests are named by it.</summary>
    public static string Name(string path) => Path.GetRelativePath(Path.Combine(SharedFiles.Root!, "golden"), path);

    public static JsonElement Read(string name)
    {
        using var document = JsonDocument.Parse(File.ReadAllBytes(SharedFiles.Need("golden", name)));
        return document.RootElement.Clone();
    }

    public static double Number(JsonElement value) =>
        value.ValueKind == JsonValueKind.String ? double.Parse(value.GetString()!, CultureInfo.InvariantCulture) : value.GetDouble();

    public static double[] Numbers(this JsonElement element, string key) => [.. element.GetProperty(key).EnumerateArray().Select(Number)];

    /// <summary>The recipe keys that a case sets; a key that is not known fails the test by name.</summary>
    /// <param name="settings">The case, or its <c>config</c>.</param>
    /// <param name="results">Members of the case that are not settings.</param>
    /// <param name="options">What the case starts from.</param>
    /// <param name="name">The case's name.</param>
    public static PreferenceOptions Options(JsonElement settings, IReadOnlyCollection<string> results, PreferenceOptions options,
        string name)
    {
        foreach (var setting in settings.EnumerateObject())
        {
            if (results.Contains(setting.Name) || s_notOfTheLoss.Contains(setting.Name))
                continue;
            var value = setting.Value;
            options = setting.Name switch
            {
                "beta" => options with { Beta = Number(value) },
                "loss_type" => options with
                {
                    LossType = value.ValueKind == JsonValueKind.Array
                    ? [.. value.EnumerateArray().Select(v => v.GetString()!)] : [value.GetString()!]
                },
                "loss_weights" => options with { LossWeights = [.. value.EnumerateArray().Select(Number)] },
                "label_smoothing" => options with { LabelSmoothing = Number(value) },
                "f_divergence_type" => options with { FDivergenceType = Divergence(value.GetString()!, name) },
                "f_alpha_divergence_coef" => options with { FAlphaDivergenceCoef = Number(value) },
                "reference_free" => options with { ReferenceFree = value.GetBoolean() },
                "use_weighting" => options with { UseWeighting = value.GetBoolean() },
                "rpo_alpha" => options with { RpoAlpha = Number(value) },
                "ld_alpha" => options with { LdAlpha = Number(value) },
                "discopop_tau" => options with { DiscopopTau = Number(value) },
                "desirable_weight" => options with { DesirableWeight = Number(value) },
                "undesirable_weight" => options with { UndesirableWeight = Number(value) },
                "cpo_alpha" => options with { CpoAlpha = Number(value) },
                "simpo_gamma" => options with { SimpoGamma = Number(value) },
                "alpha" => options with { Alpha = Number(value) },
                _ => Unknown(setting.Name),
            };
        }
        return options;

        PreferenceOptions Unknown(string key)
        {
            GoldenCase.NotBuilt($"{name}: option {key}");
            return options;
        }
    }

    /// <summary>The objective of a method, failing by name where it or its loss is not known.</summary>
    public static IPreferenceObjective Objective(string method, PreferenceOptions options, string name)
    {
        if (!Enum.TryParse<TrainingMethod>(method, ignoreCase: true, out var value) || value is TrainingMethod.Sft or TrainingMethod.Reward)
            GoldenCase.NotBuilt($"{name}: method {method}");
        try
        {
            return PreferenceObjective.Create(new MethodOptions { Method = value, Preference = options });
        }
        catch (ArgumentException problem)
        {
            GoldenCase.NotBuilt($"{name}: {problem.Message}");
            throw;
        }
    }

    private static Divergence Divergence(string word, string name)
    {
        foreach (var (spelling, value, _) in RecipeNames.Spellings(typeof(Divergence)))
            if (spelling == word)
                return (Divergence)value;
        GoldenCase.NotBuilt($"{name}: f_divergence_type {word}");
        return default;
    }
}
