using System.Text.Json;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>Reads the elements of JSON lists, or values one after the other, from a stream of any size.</summary>
internal sealed class JsonStream(Stream stream, string name) : IDisposable
{
    private readonly ReadBuffer _buffer = new(stream, name);
    private JsonReaderState _state = new(JsonOptions.Reader with { AllowMultipleValues = true });
    private long _elements;
    private int _depth;         // of the list whose elements are read; 0 outside of a list

    /// <summary>Names of the top object's properties that are lists of objects. Reads the whole file.</summary>
    public List<string> ListsOfObjects()
    {
        var lists = new List<string>();
        Token();
        while (Token() is { Type: JsonTokenType.PropertyName } property)
        {
            var value = Token();
            if (value.Type != JsonTokenType.StartArray)
            {
                Skip(value.Type);
                continue;
            }
            var first = Token();
            if (first.Type == JsonTokenType.StartObject)
                lists.Add(property.Text!);
            for (; first.Type != JsonTokenType.EndArray; first = Token())
                Skip(first.Type);
        }
        return lists;
    }

    /// <summary>Goes to the first element of the list that is the named property of the top object.</summary>
    public void EnterList(string property)
    {
        Token();
        while (Token() is { Type: JsonTokenType.PropertyName } found)
        {
            var value = Token();
            if (found.Text == property)
            {
                _depth = 2;
                return;
            }
            Skip(value.Type);
        }
        throw new InvalidOperationException($"no property {property}");
    }

    /// <summary>The next element of the list that was entered, or else of the file: a list, or values one after the other.
    /// null after the last.</summary>
    public JsonElement? NextElement()
    {
        while (true)
        {
            var reader = new Utf8JsonReader(_buffer.Rest, _buffer.IsLast, _state);
            try
            {
                if (reader.Read())
                {
                    if (reader.TokenType == JsonTokenType.EndArray && _depth == 2)
                        return null;
                    if (reader.TokenType == (_depth == 0 ? JsonTokenType.StartArray : JsonTokenType.EndArray))
                    {
                        Accept(ref reader);
                        _depth = 1 - _depth;
                        continue;
                    }
                    if (JsonDocument.TryParseValue(ref reader, out var document))
                    {
                        Accept(ref reader);
                        _elements++;
                        return Checked(document.RootElement);
                    }
                }
                else if (_buffer.IsLast)
                    return _depth == 0 ? null : throw Truncated();
            }
            catch (JsonException failure)
            {
                throw Broken(failure);
            }
            Fill();
        }
    }

    public void Dispose() => _buffer.Dispose();

    private (JsonTokenType Type, string? Text) Token()
    {
        while (true)
        {
            var reader = new Utf8JsonReader(_buffer.Rest, _buffer.IsLast, _state);
            try
            {
                if (reader.Read())
                {
                    Accept(ref reader);
                    return (reader.TokenType, reader.TokenType == JsonTokenType.PropertyName ? reader.GetString() : null);
                }
            }
            catch (JsonException failure)
            {
                throw Broken(failure);
            }
            if (_buffer.IsLast)
                throw Truncated();
            Fill();
        }
    }

    /// <summary>Passes over the rest of a value whose first token was just read.</summary>
    private void Skip(JsonTokenType first)
    {
        if (first is not (JsonTokenType.StartObject or JsonTokenType.StartArray))
            return;
        for (var depth = 1; depth > 0;)
            depth += Token().Type switch
            {
                JsonTokenType.StartObject or JsonTokenType.StartArray => 1,
                JsonTokenType.EndObject or JsonTokenType.EndArray => -1,
                _ => 0,
            };
    }

    private void Accept(ref Utf8JsonReader reader)
    {
        _buffer.Take((int)reader.BytesConsumed);
        _state = reader.CurrentState;
    }

    private void Fill() => _buffer.Fill(() => new($"{name}: row {_elements + 1}: is larger than 512 MiB", fix: "split the row"));

    private JsonElement Checked(JsonElement value)
    {
        // The parser passes over bytes inside texts; what is not UTF-8 would fail later, without a place.
        try
        {
            if (value.ValueKind == JsonValueKind.Object)
                Visit(value);
            return value;
        }
        catch (InvalidOperationException failure)
        {
            throw new InputException($"{name}: row {_elements}: is not UTF-8",
                fix: TextFile.EncodingFix(name), inner: failure);
        }

        static void Visit(JsonElement element)
        {
            switch (element.ValueKind)
            {
                case JsonValueKind.Object:
                    foreach (var property in element.EnumerateObject())
                        Visit(property.Value);
                    break;
                case JsonValueKind.Array:
                    foreach (var item in element.EnumerateArray())
                        Visit(item);
                    break;
                case JsonValueKind.String when !System.Text.Unicode.Utf8.IsValid(
                    System.Runtime.InteropServices.JsonMarshal.GetRawUtf8Value(element)):
                    throw new InvalidOperationException("invalid UTF-8");
            }
        }
    }

    private InputException Broken(JsonException failure) =>
        new($"{name}:{failure.LineNumber + 1}:{failure.BytePositionInLine + 1}: broken JSON after {_elements} "
            + $"rows: {JsonMistake.Of(failure)}",
            why: "in a list, nothing after the break can be read with certainty",
            fix: "mend the file, or give the rows as JSONL (one object a line), where a broken row costs only itself", inner: failure);

    private InputException Truncated() =>
        new($"{name}: the file ends after {_elements} rows, before its JSON is complete", why: "it was cut off, or is still being written",
            fix: "copy or download it again");
}
