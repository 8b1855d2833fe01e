using System.Text.Json;
using Handbook.Base;

namespace Handbook.Evaluation.Instructions;

/// <summary>Which instructions of a row an answer follows: per prompt and per instruction, strict and loose.</summary>
internal static class InstructionMeasures
{
    /// <param name="question">Its row has <c>instruction_id_list</c> and <c>kwargs</c>.</param>
    /// <param name="answer">What was said.</param>
    /// <param name="filter">The filter's name.</param>
    public static IEnumerable<RowMeasure> Of(TaskQuestion question, string answer, string filter)
    {
        if (!question.Row.TryGetProperty("instruction_id_list", out var kinds) || kinds.ValueKind != JsonValueKind.Array
            || !question.Row.TryGetProperty("kwargs", out var arguments) || arguments.ValueKind != JsonValueKind.Array
            || kinds.GetArrayLength() != arguments.GetArrayLength()
            || kinds.EnumerateArray().Any(kind => kind.ValueKind != JsonValueKind.String))
            throw new InputException($"{question.Place}: ifeval reads instruction_id_list, a list of names, and kwargs, a list of as many objects",
                fix: "take the published rows, or name another metric");
        // What cannot be told counts neither as followed nor as not; the run says how many.
        var checkable = kinds.EnumerateArray().Zip(arguments.EnumerateArray()).Where(pair => !IsUnchecked(pair.First, pair.Second)).ToArray();
        foreach (var (name, check) in ((string, Func<string, InstructionArguments, string, bool>)[])
            [("strict", InstructionChecks.Strict), ("loose", InstructionChecks.Loose)])
        {
            double[] followed = [.. checkable.Select(pair =>
                check(pair.First.GetString()!, new(pair.Second, question.Place), answer) ? 1.0 : 0)];
            yield return new($"prompt_level_{name}_acc", filter, followed.Length == 0 ? [] : [followed.Min()]);
            yield return new($"inst_level_{name}_acc", filter, followed);
        }
    }

    /// <summary>Looks at a row before anything is asked.</summary>
    /// <exception cref="InputException">An instruction is not known, or lacks an argument.</exception>
    public static void Require(TaskQuestion question) => _ = Of(question, ".", RowMeasures.Unfiltered).Count();

    /// <summary>How many instructions of a row cannot be checked here: those of a language that cannot be told.</summary>
    public static int Unchecked(TaskQuestion question) => question.Row.TryGetProperty("instruction_id_list", out var kinds)
        && question.Row.TryGetProperty("kwargs", out var arguments)
        ? kinds.EnumerateArray().Zip(arguments.EnumerateArray()).Count(pair => IsUnchecked(pair.First, pair.Second)) : 0;

    private static bool IsUnchecked(JsonElement kind, JsonElement given) => kind.ValueEquals("language:response_language")
        && given.ValueKind == JsonValueKind.Object && given.TryGetProperty("language", out var code)
        && code.ValueKind == JsonValueKind.String && !TextLanguage.Codes.Contains(code.GetString());
}
