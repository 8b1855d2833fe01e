using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using Handbook.Models.Generation;
using Handbook.Text.Tokenizers;

namespace Handbook.Server;

/// <summary>Parts that answers of several kinds have in common.</summary>
internal static class ResponseJson
{
    private static readonly JsonWriterOptions s_options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>JSON in UTF-8.</summary>
    public static ReadOnlyMemory<byte> Write(Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, s_options))
            write(json);
        return buffer.WrittenMemory;
    }

    /// <summary>The object that the interface tells an error as.</summary>
    public static ReadOnlyMemory<byte> Error(ApiException error) => Write(json =>
    {
        json.WriteStartObject();
        json.WriteStartObject("error");
        json.WriteString("message", error.Message);
        json.WriteString("type", error.Type);
        json.WriteString("param", error.Param);
        json.WriteString("code", error.Code);
        json.WriteEndObject();
        json.WriteEndObject();
    });

    /// <summary>What stands at the head of every answer.</summary>
    public static void Head(this Utf8JsonWriter json, string id, string kind, long created, string model)
    {
        json.WriteString("id", id);
        json.WriteString("object", kind);
        json.WriteNumber("created", created);
        json.WriteString("model", model);
    }

    public static void Usage(this Utf8JsonWriter json, int prompt, int answer)
    {
        json.WriteStartObject("usage");
        json.WriteNumber("prompt_tokens", prompt);
        json.WriteNumber("completion_tokens", answer);
        json.WriteNumber("total_tokens", prompt + answer);
        json.WriteEndObject();
    }

    /// <summary>Log-probabilities as chats tell them.</summary>
    public static void ChatLogProbs(this Utf8JsonWriter json, Tokenizer tokenizer, IReadOnlyList<DrawnToken>? tokens)
    {
        if (tokens is null)
        {
            json.WriteNull("logprobs");
            return;
        }
        json.WriteStartObject("logprobs");
        json.WriteStartArray("content");
        foreach (var token in tokens)
        {
            json.WriteStartObject();
            Token(json, tokenizer, token.Token, token.LogProb);
            json.WriteStartArray("top_logprobs");
            foreach (var other in token.Likeliest)
            {
                json.WriteStartObject();
                Token(json, tokenizer, other.Token, other.LogProb);
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteNull("refusal");
        json.WriteEndObject();
    }

    private static void Token(Utf8JsonWriter json, Tokenizer tokenizer, int id, double logProb)
    {
        var text = tokenizer.Decode([id]);
        json.WriteString("token", text);
        json.WriteNumber("logprob", LogProb(logProb));
        // A part of a character has no text of its own, and its bytes are not known by themselves.
        if (text.Contains('\uFFFD', StringComparison.Ordinal))
            json.WriteNull("bytes");
        else
        {
            json.WriteStartArray("bytes");
            foreach (var b in System.Text.Encoding.UTF8.GetBytes(text))
                json.WriteNumberValue(b);
            json.WriteEndArray();
        }
    }

    /// <summary>Log-probabilities as completions tell them.</summary>
    /// <param name="offset">Characters of the answer before these tokens; moved behind them.</param>
    public static void CompletionLogProbs(this Utf8JsonWriter json, Tokenizer tokenizer, IReadOnlyList<DrawnToken>? tokens, ref int offset)
    {
        if (tokens is null)
        {
            json.WriteNull("logprobs");
            return;
        }
        json.WriteStartObject("logprobs");
        json.WriteStartArray("tokens");
        foreach (var token in tokens)
            json.WriteStringValue(tokenizer.Decode([token.Token]));
        json.WriteEndArray();
        json.WriteStartArray("token_logprobs");
        foreach (var token in tokens)
            json.WriteNumberValue(LogProb(token.LogProb));
        json.WriteEndArray();
        json.WriteStartArray("top_logprobs");
        foreach (var token in tokens)
        {
            json.WriteStartObject();
            foreach (var same in token.Likeliest.GroupBy(other => tokenizer.Decode([other.Token])))    // two ids may have one text
                json.WriteNumber(same.Key, LogProb(same.Max(other => other.LogProb)));
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteStartArray("text_offset");
        foreach (var token in tokens)
        {
            json.WriteNumberValue(offset);
            offset += tokenizer.Decode([token.Token]).Length;
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    // JSON has no infinity; the interface says -9999 for what cannot come.
    private static double LogProb(double value) => double.IsFinite(value) ? value : -9999;
}
