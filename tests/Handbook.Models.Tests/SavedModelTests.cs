using System.Text.Json.Nodes;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Models.Tests;

[Collection("tensors")]
public sealed class SavedModelTests
{
    [Theory] // peers.md 4.3, 32: a server that does not find the end token never stops
    [InlineData("{}", "{}")]
    [InlineData("""{"eos_token_id": 7}""", """{"eos_token_id": 7}""")]
    [InlineData("""{"eos_token_id": [1, 2]}""", """{"eos_token_id": [2, 9], "temperature": 0.6}""")]
    public void Number_32_every_file_of_a_saved_model_names_the_token_that_answers_end_with(string config, string generation)
    {
        using var folder = new TemporaryFolder();
        var published = Some.Llama([.. JsonNode.Parse(config)!.AsObject().Select(entry => (entry.Key, entry.Value))]);
        WeightFilesWriter.Save(folder["first"], NewModel.Tensors(published, 1, DType.Float32));
        File.WriteAllText(folder["first/generation_config.json"], generation);
        var tokenizer =
            Tokenizer.FromJson("""{"version":"1.0","model":{"type":"BPE","vocab":{"<pad>":0,"<s>":1,"</s>":2,"a":3},"merges":[]}}"""u8)
            .With(eosToken: "</s>", padToken: "<pad>");
        using var weights = ModelWeights.Open(folder["first"], published, fused: true);
        using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32));

        new SavedModel(model, published, GenerationDefaults.Load(folder["first"], published.Decoder), tokenizer, DType.Float32)
            .Write(folder["second"]);

        // read as another program would, without a class of ours
        Assert.Contains(2, Ends("config.json"));
        Assert.Contains(2, Ends("generation_config.json"));
        Assert.Equal("</s>", Content(Json("tokenizer_config.json")["eos_token"]!));
        Assert.Equal("</s>", Content(Json("special_tokens_map.json")["eos_token"]!));
        Assert.Equal(2, Json("tokenizer.json")["model"]!["vocab"]!["</s>"]!.GetValue<int>());
        Assert.Equal(0, Json("config.json")["pad_token_id"]!.GetValue<int>());

        JsonObject Json(string file) => JsonNode.Parse(File.ReadAllText(Path.Combine(folder["second"], file)))!.AsObject();

        int[] Ends(string file) => Json(file)["eos_token_id"] switch
        {
            JsonArray many => [.. many.Select(id => id!.GetValue<int>())],
            { } one => [one.GetValue<int>()],
            null => []
        };

        static string Content(JsonNode token) => token is JsonObject added
            ? added["content"]!.GetValue<string>() : token.GetValue<string>();
    }
}
