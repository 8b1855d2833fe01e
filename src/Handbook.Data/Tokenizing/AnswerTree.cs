namespace Handbook.Data.Tokenizing;

/// <summary>The tokens of a prompt and of one answer to it.</summary>
/// <param name="Role">Chosen or rejected.</param>
internal readonly record struct AnswerTokens(SegmentRole Role, int[] Prompt, int[] Answer);

/// <summary>Answers as a tree: what they continue stands once.</summary>
internal static class AnswerTree
{
    /// <summary>The row of one or more answers.</summary>
    /// <param name="answers">Answers with the same prompt share it; one without a prompt is a root.</param>
    /// <param name="promptsCarryLoss">Lets the first prompt's tokens carry loss; the prompt of another answer never does, so that
    /// no token is learnt twice.</param>
    public static TokenRow Build(IReadOnlyList<AnswerTokens> answers, bool promptsCarryLoss = false, double margin = 0, int characters = 0)
    {
        var segments = new List<TokenSegment>();
        var prompt = -1;
        foreach (var (role, before, answer) in answers)
        {
            if (before.Length == 0)
                prompt = -1;
            else if (prompt < 0 || !segments[prompt].Ids.Span.SequenceEqual(before))
            {
                prompt = segments.Count;
                segments.Add(new(SegmentRole.Prompt, -1, before, Loss(before.Length, promptsCarryLoss && prompt == 0)));
            }
            segments.Add(new(role, prompt, answer, Loss(answer.Length, true)));
        }
        return new() { Segments = segments, Margin = margin, Characters = characters };
    }

    /// <summary>The row with its answer as it was before it was cut, where that is another.</summary>
    public static TokenRow WithUncut(TokenRow row, int[] uncut) => row.Segments[^1].Ids.Span.SequenceEqual(uncut)
        ? row : row with { Segments = [.. row.Segments, new(SegmentRole.Uncut, -1, uncut, Loss(uncut.Length, false))] };

    /// <summary>Two whole texts as a tree: what they begin with is the prompt, and each keeps at least its last token for itself.</summary>
    public static TokenRow OfWholes(int[] chosen, int[] rejected, double margin = 0, int characters = 0)
    {
        var shared = Math.Min(chosen.AsSpan().CommonPrefixLength(rejected), Math.Min(chosen.Length, rejected.Length) - 1);
        return Build([new(SegmentRole.Chosen, chosen[..shared], chosen[shared..]),
            new(SegmentRole.Rejected, rejected[..shared], rejected[shared..])], margin: margin, characters: characters);
    }

    private static byte[] Loss(int length, bool carries)
    {
        var loss = new byte[length];
        loss.AsSpan().Fill(carries ? (byte)1 : (byte)0);
        return loss;
    }
}
