using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Text.Tokenizers.Formats;
using Handbook.Text.Tokenizers.Models;

namespace Handbook.Text.Tokenizers;

/// <summary>Writes new special tokens and names into the files of a tokenizer.</summary>
internal static class NewTokens
{
    private static readonly JsonWriterOptions Layout = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <param name="files">The files as they are.</param>
    /// <param name="model">The tokenizer's model.</param>
    /// <param name="known">All added tokens that the tokenizer has, in the order of their ids; those of other files than tokenizer.json are
    /// written into it, so that the new ones are numbered after them.</param>
    /// <param name="added">Special tokens to add; those that are special tokens already stay as they are.</param>
    /// <param name="roles">Role → token: <c>eos_token</c> and its like.</param>
    /// <exception cref="InputException">A token is empty.</exception>
    public static TokenizerFolder Into(TokenizerFolder files, Model model, IEnumerable<AddedToken> known, IReadOnlyList<string> added,
        IReadOnlyDictionary<string, string> roles)
    {
        if (added.Contains(""))
            throw new InputException("a token to add is empty", "it could not be found in any text",
                "give it a name such as \"<|im_end|>\"");
        var all = known.ToDictionary(token => token.Content, StringComparer.Ordinal);
        AddedToken[] fresh = [.. added.Distinct().Where(content => !(all.TryGetValue(content, out var token) && token.Special))
            .Select(content => new AddedToken(-1, content, false, false, false, Normalized: false, Special: true))];
        // Numbered as the reader does it: a token of the vocabulary keeps its id, any other gets the next one.
        var numbered = AddedVocabulary.Ids([.. all.Values, .. fresh],
            content => model.Vocabulary.TryGetValue(content, out var id) ? id : null, model.Vocabulary.Count);
        foreach (var token in numbered.Where(token => fresh.Any(one => one.Content == token.Content)))
            if (!model.Vocabulary.ContainsKey(token.Content) && model.Vocabulary.FirstOrDefault(pair => pair.Value == token.Id).Key is { } taken)
                throw new InputException($"{files.Name}: a new token would get the id {token.Id}, which \"{taken}\" has",
                    "ids of the vocabulary have gaps, and new tokens are numbered from its count on",
                    "number the vocabulary without gaps, or add the token with the tool that made the file");
        using var document = TokenizerFolder.Parse(files.Tokenizer, files.Name);
        var config = files.Config?.DeepClone().AsObject();
        if (config?["added_tokens_decoder"] is JsonObject decoder)
            foreach (var token in numbered.Where(token => fresh.Any(one => one.Content == token.Content)))
                decoder[$"{token.Id}"] = TokenizerJson.Of(token, withId: false);
        var map = files.SpecialTokensMap?.DeepClone().AsObject();
        foreach (var (role, token) in roles)
        {
            (config ??= [])[role] = token;
            if (map is not null)
                map[role] = token;
        }
        return files with
        {
            Tokenizer = Write(document.RootElement, numbered),
            Config = config,
            SpecialTokensMap = map,
            AddedTokens = null,         // its tokens stand in tokenizer.json now
        };
    }

    private static byte[] Write(JsonElement root, IEnumerable<AddedToken> tokens)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes, Layout))
        {
            json.WriteStartObject();
            var isWritten = false;
            foreach (var member in root.EnumerateObject())
            {
                if (member.Name == "added_tokens")
                    Added();
                else
                    member.WriteTo(json);
            }
            if (!isWritten)
                Added();
            json.WriteEndObject();

            void Added()
            {
                isWritten = true;
                json.WriteStartArray("added_tokens");
                foreach (var token in tokens)
                    TokenizerJson.Of(token, withId: true).WriteTo(json);
                json.WriteEndArray();
            }
        }
        return [.. bytes.WrittenSpan, (byte)'\n'];
    }
}
