using System.Text.Json;
using Handbook.Data.Formats;
using Handbook.Data.Sources;

namespace Handbook.Data.Tests;

public sealed class ColumnAdviceTests
{
    [Theory]
    [InlineData("""{"id": "7", "question": "a", "answer": "b"}""", "column_mapping: {prompt: question, completion: answer}")]
    [InlineData("""{"answer": "b", "question": "a"}""", "column_mapping: {prompt: question, completion: answer}")]
    [InlineData("""{"user_query": "a", "model_response": "b"}""", "column_mapping: {prompt: user_query, completion: model_response}")]
    [InlineData("""{"question": "a", "rejected": "c"}""", "say which columns hold what: column_mapping: {prompt: …, completion: …}")]
    [InlineData("""{"prompt": "a", "chosen": "b", "rejected": "c"}""", "use: handbook dpo")]
    [InlineData("""{"chosen": "Human: a Assistant: b", "rejected": "c"}""", "column_mapping: {text: chosen}")]
    [InlineData("""{"chosen": [{"role": "user", "content": "a"}], "rejected": []}""", "column_mapping: {messages: chosen}")]
    [InlineData("""{"id": 1, "dialog": [{"from": "human", "value": "a"}]}""", "column_mapping: {messages: dialog}")]
    [InlineData("""{"body": "a"}""", "column_mapping: {text: body}")]
    [InlineData("""{"a": "x", "b": "y"}""", "say which columns hold what")]
    public void A_mapping_is_proposed_by_what_columns_are_called_and_hold(string row, string advice)
    {
        using var document = JsonDocument.Parse(row);
        var columns = document.RootElement.EnumerateObject().ToDictionary(column => column.Name,
            column => ColumnAdvice.ShapeOf(column.Value));
        var said = ColumnAdvice.ForFineTuning(columns);
        Assert.Contains(advice.Replace("use: handbook dpo", "train on both answers with handbook dpo"), said);
        Assert.DoesNotContain("completion: rejected", said);
    }

    [Theory]
    [InlineData("train", "train", true)]
    [InlineData("train", "training", true)]
    [InlineData("train", "test", false)]
    [InlineData("train[:90%]", "train[90%:]", false)]
    [InlineData("train[:-50]", "train[-50:]", false)]
    [InlineData("train", "train[90%:]", true)]
    [InlineData("train[:100]", "train[50:150]", true)]
    [InlineData("train[:1000]", "train[-1000:]", false)]
    public void Slices_overlap_where_they_do_for_any_number_of_rows(string one, string other, bool overlaps) =>
        Assert.Equal(overlaps, SplitSlice.Parse(one).Overlaps(SplitSlice.Parse(other)));
}
