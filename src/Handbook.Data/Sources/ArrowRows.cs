using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using Apache.Arrow;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>The rows of Arrow batches, as JSON objects with their columns in their order. One batch is in memory at a time.</summary>
/// <param name="schema">The columns.</param>
/// <param name="name">The file, as the user knows it.</param>
internal sealed class ArrowRows(Schema schema, string name)
{
    private static readonly JsonWriterOptions s_writing = new() { MaxDepth = 512, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly ArrayBufferWriter<byte> _buffer = new();
    private long _row;

    /// <summary>The rows of all batches.</summary>
    /// <param name="next">Gives the next batch, null after the last; whatever is wrong with the file is its to tell.</param>
    /// <param name="damaged">What to say of a batch whose values point outside of it.</param>
    public IEnumerable<SourceRow> Read(Func<RecordBatch?> next, Func<string, Exception, InputException> damaged)
    {
        foreach (var twice in schema.FieldsList.CountBy(field => field.Name).Where(count => count.Value > 1))
            throw new InputException($"{name}: has the column \"{twice.Key}\" {twice.Value} times", fix: "give each column its own name");
        while (next() is { } batch)
            using (batch)
                for (var i = 0; i < batch.Length; i++)
                {
                    _row++;
                    yield return Row(batch, i, damaged);
                }
    }

    private SourceRow Row(RecordBatch batch, int i, Func<string, Exception, InputException> damaged)
    {
        var place = new SourceRow { File = name, Row = _row };
        _buffer.ResetWrittenCount();
        var column = 0;
        try
        {
            using (var json = new Utf8JsonWriter(_buffer, s_writing))
            {
                json.WriteStartObject();
                for (; column < batch.ColumnCount; column++)
                {
                    json.WritePropertyName(schema.GetFieldByIndex(column).Name);
                    ArrowJson.Write(json, batch.Column(column), i);
                }
                json.WriteEndObject();
            }
            return place with { Value = JsonDocument.Parse(_buffer.WrittenSpan.ToArray(), JsonOptions.Document).RootElement };
        }
        catch (InvalidDataException failure)
        {
            return place with { Problem = new("not UTF-8", $"column {schema.GetFieldByIndex(column).Name}", failure.Message) };
        }
        catch (NotSupportedException failure)
        {
            throw new InputException($"{name}: the column {schema.GetFieldByIndex(column).Name} holds {failure.Message}, which is not read",
                fix: "leave the column out when saving the data set, or save it as text", inner: failure);
        }
        catch (Exception failure) when (failure
            is ArgumentException or IndexOutOfRangeException or OverflowException or InvalidOperationException or JsonException)
        {
            throw damaged($"row {_row} points outside of its batch", failure);
        }
    }
}
