using Handbook.Base;
using Handbook.Models;
using Handbook.Recipes;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Formats;
using Handbook.Training.Plans;

namespace Handbook.Runs;

/// <summary>Whether the reference that a recipe names reads the same tokens as the policy: otherwise its log-probabilities are those of
/// another text.</summary>
internal static class ReferenceCheck
{
    private const string Key = "ref_model_name_or_path";

    /// <param name="recipe">A checked recipe; without <c>ref_model_name_or_path</c> the reference is the policy, and nothing is to be
    /// looked at.</param>
    /// <param name="tokenizer">The policy's.</param>
    /// <returns>What the user should know, though the run can go on; null where all is well.</returns>
    /// <exception cref="InputException">The two read different tokens.</exception>
    public static string? Run(Recipe recipe, Tokenizer tokenizer)
    {
        if (recipe.Preference.RefModelNameOrPath is not { } named)
            return null;
        var source = ModelSource.Find(named, Key);
        var (folder, config) = (source.HavingTokenizer, source.Config());
        if (config.Decoder.Head != ModelHead.Language)
            throw new InputException($"{Key}: {folder} is a reward model", why: "it scores texts, and has no log-probabilities of tokens",
                fix: "name a language model");
        var (size, policySize) = (config.Decoder.VocabularySize,
            AdapterPlan.Source(recipe).Config().Decoder.VocabularySize);
        if (size != policySize)
            throw new InputException($"{Key}: {folder} has a vocabulary of {size}, but the policy has {policySize}",
                why: "both must read the same tokens", fix: "name a reference with the policy's tokenizer");
        return TokenizerFiles.Find(folder) is not null
            ? Compare(tokenizer, Tokenizer.Load(folder), folder) : null;
    }

    /// <summary>The policy's tokens beside the reference's, id by id.</summary>
    internal static string? Compare(Tokenizer policy, Tokenizer reference, string folder)
    {
        if (policy.Fingerprint == reference.Fingerprint)
            return null;
        var added = policy.AddedTokens.Concat(reference.AddedTokens).Select(token => token.Id).ToHashSet();
        var (count, first) = (0, "");
        for (var id = 0; id < Math.Max(NewModel.IdCount(policy), NewModel.IdCount(reference)); id++)
        {
            var (ours, theirs) = (policy.IdToToken(id), reference.IdToToken(id));
            if (ours == theirs)
                continue;
            // A spare id that one of the two has given a name, such as a chat's markers, is no clash; another word is.
            if (ours is not null && (reference.TokenToId(ours) is not null || theirs is not null && !added.Contains(id)))
                throw new InputException($"{Key}: {folder} has another tokenizer: id {id} is \"{ours}\" to the policy "
                    + $"and {(theirs is null ? "nothing" : $"\"{theirs}\"")} to the reference",
                    why: "the reference would score another text than the one in the rows",
                        fix: "name a reference with the policy's tokenizer");
            if (count++ == 0)
                first = $"id {id} is {Shown(ours)} to the policy and {Shown(theirs)} to the reference";
        }
        var difference = count == 0 ? "every id is the same token, but texts may be split otherwise"
            : $"{count:N0} added or missing tokens, first {first}";
        return $"{Key}: the tokenizer.json of {folder} is not the policy's: {difference}; rows are read with the policy's";
    }

    private static string Shown(string? token) => token is null ? "nothing" : $"\"{token}\"";
}
