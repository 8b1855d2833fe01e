using System.Text;
using Handbook.Training.Events;
using Handbook.Training.Metrics;

namespace Handbook.Training.Reports;

/// <summary>The records of a Weights &amp; Biases run that a training run needs, with the field numbers of
/// <c>wandb/proto/wandb_internal.proto</c>.</summary>
internal static class WandbRecords
{
    // Record
    private const int History = 2, Summary = 3, Files = 6, Metric = 12, Run = 17, Exit = 18, Final = 20, Header = 21;
    // HistoryItem, SummaryItem, ConfigItem
    private const int Key = 1, Json = 16;

    /// <summary>Which version wrote the file.</summary>
    public static byte[] OfHeader(long number) => Record(number, Header, new ProtoMessage().Message(1, new ProtoMessage()
        .Text(1, $"alignment-handbook {RunInfo.Version}").Text(2, "0.0.1")));

    /// <summary>The run itself.</summary>
    public static byte[] OfRun(long number, WandbRun run)
    {
        var config = new ProtoMessage();
        foreach (var (name, value) in run.Config)
            config.Message(1, Item(name, JsonOf(value)));
        var message = new ProtoMessage().Text(1, run.Id);
        if (run.Entity is not null)
            message.Text(2, run.Entity);
        message.Text(3, run.Project).Message(4, config);
        if (run.Group is not null)
            message.Text(6, run.Group);
        if (run.JobType is not null)
            message.Text(7, run.JobType);
        message.Text(8, run.DisplayName);
        if (run.Notes is not null)
            message.Text(9, run.Notes);
        foreach (var tag in run.Tags)
            message.Text(10, tag);
        message.Text(13, Environment.MachineName);
        if (run.StartingStep > 0)
            message.Integer(14, run.StartingStep).Integer(18, 1);
        return Record(number, Run, message.Message(17, Timestamp(run.StartTime)));
    }

    /// <summary>That every number is drawn over the steps of the optimiser, not over how often something was logged.</summary>
    /// <param name="step">The number that counts these steps.</param>
    public static IEnumerable<byte[]> OfMetrics(long number, string step) =>
    [
        Record(number, Metric, new ProtoMessage().Text(1, step).Message(6, new ProtoMessage().Integer(3, 1))),
        Record(number + 1, Metric, new ProtoMessage().Text(2, "*").Text(4, step)
            .Message(6, new ProtoMessage().Integer(1, 1).Integer(3, 1))),
    ];

    /// <summary>What is logged at once.</summary>
    /// <param name="step">How often something was logged before.</param>
    /// <param name="values">Names with values.</param>
    public static byte[] OfHistory(long number, long step, IEnumerable<KeyValuePair<string, MetricValue>> values) =>
        Record(number, History, Items(values).Message(2, new ProtoMessage().Integer(1, step)));

    /// <summary>The last value of each name.</summary>
    public static byte[] OfSummary(long number, IEnumerable<KeyValuePair<string, MetricValue>> values) =>
        Record(number, Summary, Items(values));

    /// <summary>Files below <c>files/</c>, to be uploaded when the run is at its end.</summary>
    public static byte[] OfFiles(long number, IEnumerable<string> paths)
    {
        var message = new ProtoMessage();
        foreach (var path in paths)
            message.Message(1, new ProtoMessage().Text(1, path).Integer(2, 1));
        return Record(number, Files, message);
    }

    /// <summary>How the run ended, and that nothing more comes.</summary>
    /// <param name="code">0 for success.</param>
    /// <param name="seconds">How long it ran.</param>
    public static IEnumerable<byte[]> OfEnd(long number, int code, long seconds) =>
    [
        Record(number, Exit, new ProtoMessage().Integer(1, code).Integer(2, seconds)),
        Record(number + 1, Final, new ProtoMessage()),
    ];

    /// <summary>What a record says that is read again when a run goes on: its kind, and of history its values.</summary>
    /// <returns>null for what is no record.</returns>
    public static (bool IsEnd, IReadOnlyDictionary<string, string>? History)? Read(byte[] record)
    {
        try
        {
            var fields = ProtoFields.Of(record);
            if (fields.Find(field => field.Field == History) is not { Bytes.Length: > 0 } history)
                return (fields.Exists(field => field.Field is Exit or Final), null);
            return (false, ProtoFields.Of(history.Bytes).Where(field => field.Field == 1).Select(item => ProtoFields.Of(item.Bytes))
                .ToDictionary(item => Text(item, Key), item => Text(item, Json)));
        }
        catch (FormatException)
        {
            return null;
        }

        static string Text(List<(int Field, ulong Number, byte[] Bytes)> item, int field) =>
            Encoding.UTF8.GetString(item.Find(each => each.Field == field).Bytes ?? []);
    }

    private static ProtoMessage Items(IEnumerable<KeyValuePair<string, MetricValue>> values)
    {
        var message = new ProtoMessage();
        foreach (var (name, value) in values)
            message.Message(1, Item(name, Number(value)));
        return message;
    }

    private static ProtoMessage Item(string name, string json) => new ProtoMessage().Text(Key, name).Text(Json, json);

    // The client's readers take Python's words for what JSON has none for.
    private static string Number(MetricValue value) => double.IsNaN(value.Value) ? "NaN"
        : double.IsPositiveInfinity(value.Value) ? "Infinity"
        : double.IsNegativeInfinity(value.Value) ? "-Infinity" : value.ToJson();

    private static string JsonOf(object? value) => PythonJson.Write(value);

    private static ProtoMessage Timestamp(DateTimeOffset time)
    {
        var ticks = (time - DateTimeOffset.UnixEpoch).Ticks;
        return new ProtoMessage().Integer(1, ticks / TimeSpan.TicksPerSecond).Integer(2, ticks % TimeSpan.TicksPerSecond * 100);
    }

    private static byte[] Record(long number, int kind, ProtoMessage message) =>
        new ProtoMessage().Integer(1, number).Message(kind, message).ToArray();
}

/// <summary>What names and describes a Weights &amp; Biases run.</summary>
internal sealed record WandbRun
{
    /// <summary>Names the run for ever; its files are called after it.</summary>
    public required string Id { get; init; }

    public required string Project { get; init; }

    public string? Entity { get; init; }

    public string? Group { get; init; }

    public string? JobType { get; init; }

    public required string DisplayName { get; init; }

    public string? Notes { get; init; }

    public IReadOnlyList<string> Tags { get; init; } = [];

    public required IReadOnlyDictionary<string, object?> Config { get; init; }

    public required DateTimeOffset StartTime { get; init; }

    /// <summary>How often something was logged before, by a run that this one goes on from in a file of its own; 0 otherwise.</summary>
    public long StartingStep { get; init; }
}
