using System.IO.Compression;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Text.Tokenizers.Formats;

namespace Handbook.Text.Tokenizers;

/// <summary>The files of a tokenizer as published: tokenizer.json and, where they exist, the configuration and
/// template beside it.</summary>
internal sealed record TokenizerFolder
{
    /// <summary>Name of the tokenizer file, for messages.</summary>
    public required string Name { get; init; }

    /// <summary>tokenizer.json as it stands in the file, uncompressed, or what a file of another form amounts to.</summary>
    public required byte[] Tokenizer { get; init; }

    /// <summary>tokenizer_config.json; null where absent.</summary>
    public JsonObject? Config { get; init; }

    /// <summary>special_tokens_map.json; null where absent.</summary>
    public JsonObject? SpecialTokensMap { get; init; }

    /// <summary>added_tokens.json; null where absent.</summary>
    public JsonObject? AddedTokens { get; init; }

    /// <summary>chat_template.jinja; null where absent.</summary>
    public string? ChatTemplateFile { get; init; }

    /// <summary>Templates of the folder additional_chat_templates, by name.</summary>
    public IReadOnlyDictionary<string, string> AdditionalTemplates { get; init; } = new Dictionary<string, string>();

    public static TokenizerFolder Read(string path)
    {
        string? file = path;
        if (Directory.Exists(path))
        {
            file = TokenizerFiles.Find(path);
            if (file is null)
                throw new InputException($"{path} holds no tokenizer.json",
                    $"nor another file of a tokenizer: one is read from {TokenizerFiles.Known}",
                    "name the folder of the model, or the file itself");
        }
        else if (!File.Exists(path))
            throw new InputException($"{path} does not exist",
                "it should be a folder with tokenizer.json, or such a file", "check the path");
        var folder = Path.GetDirectoryName(Path.GetFullPath(file))!;
        var templates = Path.Combine(folder, "additional_chat_templates");
        var config = ReadObject(Path.Combine(folder, "tokenizer_config.json"));
        var bytes = ReadBytes(file);
        if (TokenizerFiles.Convert(file, bytes, config, ReadObject(Path.Combine(folder, "config.json"))) is { } converted)
        {
            bytes = converted.Tokenizer;
            config ??= [];
            foreach (var (key, value) in converted.Defaults)
                if (!config.ContainsKey(key))
                    config[key] = value!.DeepClone();
        }
        return new()
        {
            Name = file,
            Tokenizer = bytes,
            Config = config,
            SpecialTokensMap = ReadObject(Path.Combine(folder, "special_tokens_map.json")),
            AddedTokens = ReadObject(Path.Combine(folder, "added_tokens.json")),
            ChatTemplateFile = Path.Combine(folder, "chat_template.jinja") is var template && File.Exists(template)
                ? File.ReadAllText(template) : null,
            AdditionalTemplates = Directory.Exists(templates)
                ? Directory.GetFiles(templates, "*.jinja").ToDictionary(found => Path.GetFileNameWithoutExtension(found), File.ReadAllText)
                    : new Dictionary<string, string>(),
        };
    }

    /// <summary>Parses a JSON file, with the place of the first mistake in the message.</summary>
    /// <param name="unique">Whether two members of one name are a mistake; else the last one counts.</param>
    public static JsonDocument Parse(ReadOnlyMemory<byte> bytes, string name, bool unique = false)
    {
        try
        {
            if (bytes.Span.StartsWith("\uFEFF"u8))
                bytes = bytes[3..];
            // The parser looks at strings only when they are asked for, and then throws what is no message.
            if (UnicodeMistake.Find(bytes.Span) is { } mistake)
                throw new InputException($"{name}:{mistake.Line} is not valid Unicode: {mistake.What}", fix: "repair the string");
            return JsonDocument.Parse(bytes, new() { MaxDepth = 128, AllowDuplicateProperties = !unique });
        }
        catch (JsonException broken)
        {
            throw new InputException($"{name}:{broken.LineNumber + 1}:{broken.BytePositionInLine + 1} is not JSON: {JsonMistake.Of(broken)}",
                fix: "fetch the file again, or repair that line", inner: broken);
        }
    }

    private static byte[] ReadBytes(string file)
    {
        if (FilePointer.Problem(file, file) is { } pointer)
            throw pointer;
        var bytes = File.ReadAllBytes(file);
        if (!bytes.AsSpan().StartsWith<byte>([0x1F, 0x8B]))
            return bytes;
        try
        {
            using var gzip = new GZipStream(new MemoryStream(bytes), CompressionMode.Decompress);
            var plain = new MemoryStream();
            gzip.CopyTo(plain);
            // .NET ends quietly where the stream is cut off; the trailer says how long the content must be.
            var stated = BitConverter.ToUInt32(bytes, bytes.Length - 4);
            if ((uint)plain.Length != stated)
                throw new InvalidDataException("the compressed data ends early");
            return plain.ToArray();
        }
        catch (InvalidDataException broken)
        {
            throw new InputException($"{file} is not a whole gzip file", "its compressed data is cut off or damaged",
                "fetch the file again", broken);
        }
    }

    private static JsonObject? ReadObject(string file)
    {
        if (!File.Exists(file))
            return null;
        using var document = Parse(File.ReadAllBytes(file), file, unique: true);
        return document.RootElement.ValueKind == JsonValueKind.Object ? JsonObject.Create(document.RootElement.Clone())
            : throw new ConfigNode(document.RootElement, file).Wrong("an object");
    }
}
