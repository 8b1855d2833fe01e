using System.Net.Http.Json;
using System.Text.Json;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Models.Quantised;
using Handbook.Serving;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Quantised;
using Handbook.Training.Progress;

namespace Handbook.Server.Tests;

/// <summary>Models whose weights are codes, or whose products are in bfloat16, are served as they answer alone.</summary>
[Collection("tensors")]
public sealed class PrecisionTests(ServedFixture served) : IClassFixture<ServedFixture>
{
    [Theory, Trait("speed", "slow")]
    [InlineData(null, false, true)]
    [InlineData("nf4", false, false)]
    [InlineData("nf4", true, true)]
    [InlineData("int8", false, false)]
    [InlineData("int8", false, true)]
    public async Task Many_clients_get_what_the_model_says_alone_to_the_last_bit(string? codes, bool isDouble, bool halves)
    {
        using var folder = new TemporaryFolder();
        var (place, compute) = (Path.Combine(served.Folder, "base"), halves ? DType.BFloat16 : DType.Float32);
        if (codes is not null)
        {
            QuantisedFolder.Write(place, new(codes == "nf4" ? QuantisedKind.Nf4 : QuantisedKind.Int8, isDouble), compute, folder["codes"], _ => { });
            place = folder["codes"];
        }
        var sampling = new SamplingOptions { MaxNewTokens = 16, Temperature = 1.1 };
        string[] texts = [.. Enumerable.Range(0, 8).Select(i => $"one two three four the sun and the moon {string.Concat(Enumerable.Repeat("one two ", 3 * i))}{i}")];

        // As `generate` has them, each alone.
        var alone = new List<(int[] Prompt, Answer Answer)>();
        using (var model = LanguageModel.Open(place, compute))
            foreach (var (i, text) in texts.Index())
                alone.Add((model.EncodeText(text), new Generator(model.Network).Sample([new SampleRequest(model.EncodeText(text), [0])],
                    sampling with { Seed = i, StopIds = model.StopIds })[0][0]));
        Assert.True(alone.Select(one => string.Join(' ', one.Answer.Tokens)).Distinct().Count() > 4);

        using var models = ServedModels.Open(ModelSource.Find(place), "coded", [], compute, null, new() { MaxRows = 4 }, RunObservers.None);
        await using var server = await ApiServer.Start(models, new() { Port = 0 });
        using var http = ServedFixture.Client(server);
        await Task.WhenAll(alone.Select(async (one, i) =>
        {
            using var response = await http.PostAsJsonAsync("/v1/completions", new { model = "coded", prompt = one.Prompt, max_tokens = 16, temperature = 1.1, seed = i, logprobs = 0 });
            var choice = JsonElement.Parse(await response.Content.ReadAsStringAsync()).GetProperty("choices")[0];
            Assert.Equal(one.Answer.LogProbs, choice.GetProperty("logprobs").GetProperty("token_logprobs").EnumerateArray()
                .Select(number => number.GetDouble()).Take(one.Answer.Tokens.Length));
            Assert.Equal(one.Answer.Finish == FinishReason.Stop ? "stop" : "length", choice.GetProperty("finish_reason").GetString());
        }));
    }
}
