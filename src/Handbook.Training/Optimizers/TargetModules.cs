using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Models;
using Handbook.Models.Adapters;

namespace Handbook.Training.Optimizers;

/// <summary>The matrices that <c>optim_target_modules</c> names.</summary>
internal static class TargetModules
{
    /// <summary>Says of a piece whether it is named: <c>all-linear</c> names every matrix but embeddings; any other entry names the modules
    /// whose published name it is, is a part of, or is matched by as a regular expression.</summary>
    /// <exception cref="InputException">No matrix of the model is named.</exception>
    public static Func<ParameterPiece, bool> Of(TrainingOptions options, ModelParameters parameters)
    {
        var entries = options.OptimTargetModules ?? [];
        var linear = ParameterPiece.Trained(parameters).Where(IsLinear).ToArray();
        var named = linear.Where(piece => entries.Any(entry => Names(entry, piece.Module))).Select(piece => piece.Name).ToHashSet();
        if (named.Count == 0)
            throw new InputException($"optim_target_modules: {string.Join(", ", entries)} names none of the {linear.Length} matrices that "
                + "are trained",
                why: $"{RecipeNames.Of(options.Optimizer())} projects the gradients of the matrices that it names, and of no others",
                fix: "write all-linear, or a part of such names as "
                    + string.Join(", ", linear.Select(piece => piece.Module).Take(3)));
        return piece => named.Contains(piece.Name);
    }

    /// <summary>What is wrong with the entries themselves; null where nothing is.</summary>
    public static string? Problem(IReadOnlyList<string> entries)
    {
        foreach (var entry in entries)
            if (ModuleNames.Problem(entry) is { } mistake)
                return $"has {entry}, which is no regular expression: {mistake}";
        return null;
    }

    private static bool IsLinear(ParameterPiece piece) =>
        piece.IsMatrix && piece.Spec is { Kind: ParameterKind.Weight, Name: not ParameterSpec.Positions };

    private static bool Names(string entry, string module) => entry.Replace('_', '-') == "all-linear"
        || module.Contains(entry, StringComparison.Ordinal)
        || ModuleNames.Find($@"(?:{entry})\z", module).Success;
}
