namespace Handbook.Text.Tokenizers.PostProcessors;

/// <summary>One encoded text on its way through the post-processors.</summary>
internal sealed class EncodedPart
{
    public required List<int> Ids { get; init; }

    public required List<string> Tokens { get; init; }

    public required List<(int Start, int End)> Offsets { get; init; }

    public required List<int> TypeIds { get; init; }

    public required List<bool> Special { get; init; }

    /// <summary>Index of the word each token belongs to; null for tokens that were added.</summary>
    public required List<int?> Words { get; init; }

    public static EncodedPart Empty() => new() { Ids = [], Tokens = [], Offsets = [], TypeIds = [], Special = [], Words = [] };

    public void AddSpecial(int id, string token, int typeId)
    {
        Ids.Add(id);
        Tokens.Add(token);
        Offsets.Add((0, 0));
        TypeIds.Add(typeId);
        Special.Add(true);
        Words.Add(null);
    }

    public void Add(EncodedPart other)
    {
        Ids.AddRange(other.Ids);
        Tokens.AddRange(other.Tokens);
        Offsets.AddRange(other.Offsets);
        TypeIds.AddRange(other.TypeIds);
        Special.AddRange(other.Special);
        Words.AddRange(other.Words);
    }

    public void SetType(int typeId)
    {
        for (var i = 0; i < TypeIds.Count; i++)
            TypeIds[i] = typeId;
    }
}

/// <summary>Adds special tokens around one text or two, and corrects offsets.</summary>
internal abstract class PostProcessor
{
    /// <param name="parts">One or two encoded texts, or what an earlier step made of them.</param>
    /// <returns>The parts in their final order; joined, they are the result.</returns>
    public abstract List<EncodedPart> Process(List<EncodedPart> parts, bool addSpecialTokens);

    /// <summary>Ids before and after a single text with special tokens; the fast way for plain ids.</summary>
    public abstract (int[] Before, int[] After) Frame { get; }
}
