using Handbook.Base;

namespace Handbook.Text.Tokenizers.PostProcessors;

/// <summary>One item of a template: special tokens, or the place of a text.</summary>
/// <param name="Sequence">0 for the first text, 1 for the second, −1 for special tokens.</param>
/// <param name="Declared">Ids of the special tokens; null where the file does not declare them.</param>
internal sealed record TemplateItem(int Sequence, int TypeId, (int Id, string Token)[]? Declared, string Name)
{
    public (int Id, string Token)[] Special => Declared ?? (Sequence >= 0 ? [] : throw new InputException(
        $"tokenizer: post_processor uses the special token \"{Name}\", which its special_tokens does not list",
            "the token's ids are not known", $"add \"{Name}\" to post_processor.special_tokens"));
}

/// <summary>Special tokens around the texts, as a template lists them.</summary>
internal sealed class TemplateProcessor(TemplateItem[] single, TemplateItem[] pair) : PostProcessor
{
    public override (int[] Before, int[] After) Frame
    {
        get
        {
            var place = Array.FindIndex(single, item => item.Sequence == 0);
            return ([.. Ids(single[..Math.Max(place, 0)])], [.. Ids(single[(place + 1)..])]);

            static IEnumerable<int> Ids(TemplateItem[] items) => items.SelectMany(item => item.Special).Select(special => special.Id);
        }
    }

    public override List<EncodedPart> Process(List<EncodedPart> parts, bool addSpecialTokens)
    {
        var result = new List<EncodedPart>();
        foreach (var item in parts.Count == 1 ? single : pair)
        {
            var part = EncodedPart.Empty();
            if (item.Sequence >= 0)
            {
                part.Add(parts[item.Sequence]);
                part.SetType(item.TypeId);
            }
            else if (addSpecialTokens)
                foreach (var (id, token) in item.Special)
                    part.AddSpecial(id, token, item.TypeId);
            result.Add(part);
        }
        return result;
    }
}
