using System.Runtime.InteropServices;
using System.Text.Json;
using Handbook.Models;
using Handbook.Serving;
using Handbook.Torch;
using Microsoft.AspNetCore.Http;
using Decoder = Handbook.Models.Decoder;

namespace Handbook.Server;

/// <summary><c>POST /v1/embeddings</c>: the mean of a text's last hidden states, or the last of them, as a vector of length 1.</summary>
internal sealed class ServedEmbeddings(ServedModels models, ServerOptions options)
{
    /// <summary>Most texts of a request.</summary>
    private const int MostTexts = 256;

    public async Task Answer(RequestBody body, HttpResponse response, RequestClock clock, CancellationToken cancel)
    {
        var model = SamplingRequest.Named(body, models);
        var texts = TokenInput.Read(body, "input", model, MostTexts);
        var base64 = (body.Text("encoding_format") ?? "float") switch
        {
            "float" => false,
            "base64" => true,
            var other => throw body.Wrong("encoding_format", $"is {other}, but must be float or base64"),
        };
        clock.Asks("embeddings", model.Name);
        var width = model.Network.Config.HiddenSize;
        body.Refuse("dimensions", $"the vectors of this model have {width} numbers, and were not trained to be cut",
            value => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var size) && size == width);
        body.Finish();
        foreach (var (i, text) in texts.Index())
            if (text.Length == 0 || text.Length > model.Window)
                throw ApiException.Bad("input", $"text {i + 1} of input has {text.Length} tokens, but must have 1 to {model.Window}",
                    "context_length_exceeded");
        var vectors = new List<float[]>();
        foreach (var text in texts)     // one by one, so that answers go on between
        {
            cancel.ThrowIfCancellationRequested();
            vectors.Add(await models.Engine.Run(() => Embed(model.Network, text, options.Pooling)));
        }
        clock.Heard();
        var tokens = texts.Sum(text => text.Length);
        await ApiServer.Send(response, ResponseJson.Write(json => Write(json, model, vectors, base64, tokens)), cancel);
    }

    private static float[] Embed(Decoder network, int[] text, Pooling pooling)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var hidden = network.Hidden(StreamLayout.Of([text])).To(DType.Float32);
        var vector = (pooling == Pooling.Last ? hidden.Narrow(0, text.Length - 1, 1).Sum(0) : hidden.Sum(0)).ToArray<float>();
        var length = Math.Sqrt(vector.Sum(x => (double)x * x));
        return length > 0 ? [.. vector.Select(x => (float)(x / length))] : vector;
    }

    private static void Write(Utf8JsonWriter json, ServedModel model, List<float[]> vectors, bool base64, int tokens)
    {
        json.WriteStartObject();
        json.WriteString("object", "list");
        json.WriteStartArray("data");
        foreach (var (i, vector) in vectors.Index())
        {
            json.WriteStartObject();
            json.WriteString("object", "embedding");
            json.WriteNumber("index", i);
            if (base64)
                json.WriteBase64String("embedding", MemoryMarshal.AsBytes<float>(vector));
            else
            {
                json.WriteStartArray("embedding");
                foreach (var x in vector)
                    json.WriteNumberValue(x);
                json.WriteEndArray();
            }
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteString("model", model.Name);
        json.WriteStartObject("usage");
        json.WriteNumber("prompt_tokens", tokens);
        json.WriteNumber("total_tokens", tokens);
        json.WriteEndObject();
        json.WriteEndObject();
    }
}
