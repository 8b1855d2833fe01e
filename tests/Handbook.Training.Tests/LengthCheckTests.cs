using Handbook.Base;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Tests;
using Handbook.Training.Methods;

namespace Handbook.Training.Tests;

public sealed class LengthCheckTests
{
    private static readonly DecoderConfig s_model = Some.Llama(("head_dim", 16), ("max_position_embeddings", 8)).Decoder;

    [Fact]
    public void A_length_beyond_the_model_s_positions_is_told_before_any_row()
    {
        Assert.Null(LengthCheck.Allowed(("max_length", 8), s_model));
        Assert.Null(LengthCheck.Allowed(null, s_model));
        Assert.StartsWith("max_length is 9, but the model was made for 8 positions", LengthCheck.Allowed(("max_length", 9), s_model));
    }

    [Fact]
    public void Where_a_method_samples_its_answers_the_prompt_and_the_answer_count_together()
    {
        var run = new MethodOptions { Method = TrainingMethod.Grpo, Preference = new() { MaxPromptLength = 4, MaxCompletionLength = 5 } };
        Assert.Contains("lower them to 8 together", LengthCheck.Allowed(run.Definition.LongestRow(run), s_model));
        Assert.Null(run.Definition.LongestRow(run with { Preference = new() { MaxCompletionLength = 5 } }));
        Assert.Equal(("max_length", 1024), MethodDefinition.Of(TrainingMethod.Dpo).LongestRow(run));
    }

    // a factor stretches what the model was pretrained with; where the longer length is in the file already, the larger of both counts
    [Theory]
    [InlineData(RopeScalingKind.Linear, 4, null, 32)]
    [InlineData(RopeScalingKind.Dynamic, 2, null, 16)]
    [InlineData(RopeScalingKind.Yarn, 4, 4, 16)]
    [InlineData(RopeScalingKind.Llama3, 2, 4, 8)]
    [InlineData(RopeScalingKind.LongRope, 1, 4, 8)]
    public void Scaled_positions_count(RopeScalingKind kind, double factor, int? original, int longest) =>
        Assert.Equal(longest,
            (s_model with { RopeScaling = new() { Kind = kind, Factor = factor, OriginalMaxPositions = original } }).LongestText);

    [Fact] // a prompt of 5 with answers of 2 and 4: positions go to 9, though the row has 11 tokens; packed rows begin anew
    public void Rows_count_by_their_longest_way_from_prompt_to_answer()
    {
        ITokenRows fits = new TokenRowList([Row((-1, 5), (0, 2), (0, 3)), Row((-1, 8), (-1, 8))]);
        Assert.Null(LengthCheck.Found([Survey(fits)], s_model));
        ITokenRows long1 = new TokenRowList([Row((-1, 5), (0, 2), (0, 4)), Row((-1, 8))]);
        Assert.StartsWith("1 row is longer than the 8 positions that the model was made for (max_position_embeddings), the longest "
            + "has 9 tokens", LengthCheck.Found([Survey(fits), Survey(long1)], s_model));
        var refused = Assert.Throws<InputException>(() =>
            LengthCheck.Found([Survey(long1)], s_model with { Positions = PositionKind.Learned }));
        Assert.Equal("set max_length: 8 or less", refused.Fix);
    }

    [Fact]
    public void A_prompt_beyond_the_positions_is_told_where_they_rotate()
    {
        Assert.Null(LengthCheck.Prompts([new int[8]], s_model));
        Assert.StartsWith("1 prompt is longer than the 8 positions", LengthCheck.Prompts([new int[8], new int[20]], s_model));
        Assert.Null(LengthCheck.Prompts([new int[20]], s_model with { Positions = PositionKind.Learned }));
    }

    private static RowSurvey Survey(ITokenRows rows) => RowSurvey.Of(rows, new() { LongestText = s_model.LongestText });

    private static TokenRow Row(params (int Parent, int Length)[] parts) =>
        new()
        {
            Segments =
            [.. parts.Select(part => new TokenSegment(SegmentRole.Row, part.Parent, new int[part.Length], new byte[part.Length]))]
        };
}
