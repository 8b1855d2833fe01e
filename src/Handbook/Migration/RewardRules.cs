using Handbook.Recipes;
using Handbook.Training.Sampling;

namespace Handbook.Migration;

/// <summary>What scores an answer, by the names of TRL's own functions and of ours.</summary>
/// <remarks>Two of its names are ours under another name, or a pattern of ours; for the others nothing computes the same number.</remarks>
internal static class RewardRules
{
    // think_format_reward: one <think> block, at the very beginning
    private const string ThinkFormat = @"(?s)\A<think>(?!.*<think>).*?</think>";

    private static readonly Dictionary<string, string> s_others = new()
    {
        ["accuracy_reward"] = "formulas are compared by their value there; number_match compares the last number of an answer, "
            + "exact_match its text",
        ["reasoning_accuracy_reward"] = "formulas behind </think> are compared by their value there; number_match and exact_match compare "
            + "what answer_pattern finds, such as answer_pattern: '</think>(.*)'",
        ["get_soft_overlong_punishment"] = "a growing penalty of long answers there; finished scores answers that end by themselves",
    };

    /// <summary>Rules for the names of rewards and their weights.</summary>
    public static MigrationRules Rewards(this MigrationRules rules) => rules.On("reward_funcs", Functions).Read("reward_weights");

    /// <summary>TRL's script asks a reward model that is named, whether functions are named beside it or not.</summary>
    public static void Model(MigrationDraft draft)
    {
        if (draft["reward_model_name_or_path"] is { } model && draft["reward_funcs"] is null && draft.Has("reward_model_name_or_path"))
            draft.Set("reward_funcs", (string[])["reward_model"], from: model);
    }

    private static void Functions(MigrationDraft draft, ForeignKey setting)
    {
        if (!RecipeKeys.Find("reward_funcs")!.Serves(draft.Method))
        {
            draft.Take(setting, "reward_funcs");
            return;
        }
        draft.Tell(setting);
        // the model comes first there, and has the first weight
        var isAsked = draft["reward_model_name_or_path"] is not null && !setting.Texts.Contains("reward_model");
        string[] names = [.. isAsked ? (string[])["reward_model"] : [], .. setting.Texts];
        var weights = draft["reward_weights"];
        // who gives another count of weights hears of it from the recipe's own check
        var shares = weights?.Texts is { } given && given.Count == names.Length ? given : null;
        List<ScalarNode> scorers = [], kept = [];
        for (var i = 0; i < names.Length; i++)
            if (Ours(draft, names[i], scorers) is { } ours)
            {
                scorers.Add(Word(setting, isAsked ? i - 1 : i, ours));
                if (shares is not null)
                    kept.Add(Word(weights!, i, shares[i]));
            }
            else
                draft.Leave(setting.Line, $"reward_funcs: {names[i]}", s_others.GetValueOrDefault(names[i])
                    ?? $"a function in Python; here are {string.Join(", ", ScorerOptions.Names)}");
        if (scorers.Count == 0)
        {
            draft.LeaveOpen("reward_funcs", $"nothing here scores as {string.Join(" and ", names)} does: name one of "
                + string.Join(", ", ScorerOptions.Names));
            if (weights is not null)
                draft.Leave(weights, "one for each of reward_funcs");
            return;
        }
        draft.Take(setting with { Value = new ListNode(setting.Value.Span, scorers) }, "reward_funcs");
        if (weights is not null)
            draft.Take(shares is null ? weights : weights with { Value = new ListNode(weights.Value.Span, kept) }, "reward_weights");
        draft.Tell(weights);
    }

    /// <summary>What a reward is called here; null where nothing computes the same.</summary>
    private static string? Ours(MigrationDraft draft, string name, List<ScalarNode> scorers)
    {
        if (name != "think_format_reward")
            return ScorerOptions.Names.Contains(name) ? name : null;
        if (draft["reward_pattern"] is not null || scorers.Exists(scorer => scorer.Text == "regex"))
            return null;
        draft.Set("reward_pattern", ThinkFormat, name);
        return "regex";
    }

    // a text where the word of a list stands
    private static ScalarNode Word(ForeignKey setting, int at, string text) =>
        new(setting.Value is ListNode list && at >= 0 && at < list.Items.Count ? list.Items[at].Span : setting.Value.Span, text,
            Quoted: false);
}
