using System.Collections;
using System.Diagnostics.Tracing;
using Handbook.Base;
using Handbook.Training;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Handbook.Server;

/// <summary>Sends the server's traces and numbers to a collector, as the standard <c>OTEL_</c> variables of the environment say. Without one
/// that names a collector nothing is sent.</summary>
internal sealed class Telemetry : IDisposable
{
    /// <summary>What the source of traces and the meter are called.</summary>
    public const string Name = "Handbook.Server";

    // Each names a collector, for all or for one of the two.
    private static readonly string[] s_endpoints =
        ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"];

    private static readonly string[] s_protocols =
        ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"];

    // What the exporter reads, beside the variables above.
    private static readonly string[] s_read = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER",
        "OTEL_METRICS_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_BSP_", "OTEL_METRIC_EXPORT_",
        "OTEL_METRICS_EXEMPLAR_FILTER", "OTEL_ATTRIBUTE_", "OTEL_SPAN_", "OTEL_EVENT_ATTRIBUTE_", "OTEL_LINK_ATTRIBUTE_",
        "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CLIENT_", "OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_METRICS_"];

    private readonly TracerProvider? _traces;
    private readonly MeterProvider? _metrics;
    private readonly Complaints _complaints;

    private Telemetry(bool traces, bool metrics, Dictionary<string, string> environment, Action<string> say)
    {
        _complaints = new(say);
        if (traces)
            _traces = Sdk.CreateTracerProviderBuilder().ConfigureResource(Named).AddSource(Name).AddOtlpExporter().Build();
        if (metrics)
            _metrics = Sdk.CreateMeterProviderBuilder().ConfigureResource(Named).AddMeter(Name).AddOtlpExporter().Build();

        // The environment's own name and attributes come before ours.
        void Named(ResourceBuilder resource)
        {
            if (!environment.ContainsKey("OTEL_SERVICE_NAME")
                && !environment.GetValueOrDefault("OTEL_RESOURCE_ATTRIBUTES", "").Contains("service.name=", StringComparison.Ordinal))
                resource.AddService("handbook", serviceVersion: RunInfo.Version);
        }
    }

    /// <summary>Begins to send, where the environment names a collector.</summary>
    /// <param name="say">Hears of variables that have no effect, and of a collector that does not take what is sent.</param>
    /// <exception cref="InputException">A variable has a value that is none.</exception>
    /// <returns>Ends the sending, and sends what is left; null where nothing is sent.</returns>
    public static Telemetry? Begin(Action<string> say)
    {
        var environment = Environment.GetEnvironmentVariables().Cast<DictionaryEntry>()
            .Where(entry => entry.Value is string { Length: > 0 } && ((string)entry.Key).StartsWith("OTEL_", StringComparison.Ordinal))
            .ToDictionary(entry => (string)entry.Key, entry => (string)entry.Value!);
        foreach (var name in environment.Keys.Order())
            if (!s_endpoints.Contains(name) && !s_protocols.Contains(name) && !s_read.Any(known => known.EndsWith('_')
                ? name.StartsWith(known, StringComparison.Ordinal) : name == known))
                say($"note: {name} has no effect: traces and numbers are sent, by OTLP");
        foreach (var name in s_protocols)
            if (environment.TryGetValue(name, out var protocol) && protocol is not ("grpc" or "http/protobuf"))
                throw new InputException($"{name} is {protocol}", fix: "use grpc or http/protobuf");
        foreach (var name in s_endpoints)
            if (environment.TryGetValue(name, out var place)
                && !(Uri.TryCreate(place, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https"))
                throw new InputException($"{name} is {place}", fix: "name the collector's address, for example http://127.0.0.1:4318");
        if (environment.GetValueOrDefault("OTEL_SDK_DISABLED")?.Equals("true", StringComparison.OrdinalIgnoreCase) == true)
            return null;
        var (traces, metrics) = (Wants("TRACES"), Wants("METRICS"));
        return traces || metrics ? new(traces, metrics, environment, say) : null;

        bool Wants(string signal) => environment.GetValueOrDefault($"OTEL_{signal}_EXPORTER") switch
        {
            null => environment.ContainsKey("OTEL_EXPORTER_OTLP_ENDPOINT") || environment.ContainsKey($"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"),
            "otlp" => true,
            "none" => false,
            var other => throw new InputException($"OTEL_{signal}_EXPORTER is {other}", fix: "use otlp or none; /metrics is for Prometheus"),
        };
    }

    /// <summary>Sends what is left.</summary>
    public void Dispose()
    {
        _traces?.Dispose();
        _metrics?.Dispose();
        _complaints.Dispose();
    }

    /// <summary>Tells what the exporter keeps to itself: once a minute that a collector does not take what is sent.</summary>
    private sealed class Complaints(Action<string> say) : EventListener
    {
        private DateTime _last;

        protected override void OnEventSourceCreated(EventSource source)
        {
            if (source.Name == "OpenTelemetry-Exporter-OpenTelemetryProtocol")
                EnableEvents(source, EventLevel.Error);
        }

        protected override void OnEventWritten(EventWrittenEventArgs written)
        {
            // The base class listens before this object is whole.
            if (say is null || DateTime.UtcNow - _last < TimeSpan.FromMinutes(1))
                return;
            _last = DateTime.UtcNow;
            var text = string.Join("; ", written.Payload?.OfType<string>().Select(part => part.Split('\n')[0]) ?? []);
            say($"warning: the OpenTelemetry collector does not take what is sent: {text}");
        }
    }
}
