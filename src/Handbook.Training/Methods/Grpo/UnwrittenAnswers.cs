using Handbook.Data;

namespace Handbook.Training.Methods.Grpo;

/// <summary>Prompts with answers that nobody has written yet, each as long as it may become.</summary>
internal sealed class UnwrittenAnswers(ITokenRows prompts, WrittenAnswers answers) : ITokenRows
{
    private readonly TokenSegment _answer = new(SegmentRole.Sample, 0, new int[answers.Length], Enumerable.Repeat((byte)1, answers.Length).ToArray());

    public int Count => prompts.Count;

    public int Length(int row) => prompts.Length(row) + answers.PerPrompt * answers.Length;

    public int Characters(int row) => 0;

    public TokenRow Read(int row)
    {
        var prompt = prompts.Read(row);
        return prompt with
        {
            Segments = [.. prompt.Segments, .. Enumerable.Repeat(_answer, answers.PerPrompt)],
            Samples = new SampleScore[answers.PerPrompt],
        };
    }
}
