using Handbook.Base;
using Handbook.Models.Serving;
using Handbook.Text.Templates;
using Microsoft.AspNetCore.Http;

namespace Handbook.Server;

/// <summary>What a client did wrong, or why it gets no answer, as the interface says it.</summary>
/// <param name="status">HTTP status.</param>
/// <param name="message">What is wrong, and what to do.</param>
/// <param name="type">The kind of error, in the interface's words.</param>
/// <param name="param">The field of the request that is wrong; null where it is none.</param>
/// <param name="code">A word for programs; null for none.</param>
internal sealed class ApiException(int status, string message, string type = ApiException.Invalid, string? param = null,
    string? code = null) : Exception(message)
{
    public const string Invalid = "invalid_request_error";

    public int Status { get; } = status;

    public string Type { get; } = type;

    public string? Param { get; } = param;

    public string? Code { get; } = code;

    /// <summary>When to ask again; null for now.</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>A field with a value that cannot be used.</summary>
    public static ApiException Bad(string param, string message, string? code = null) => new(400, message, Invalid, param, code);

    /// <summary>What is told of an exception.</summary>
    /// <param name="hasTimedOut">Whether the request took too long.</param>
    public static ApiException Of(Exception failure, bool hasTimedOut = false) => failure switch
    {
        ApiException told => told,
        OperationCanceledException when hasTimedOut => new(504, "the request took longer than the server allows; ask for fewer tokens, or "
            + "start the server with a larger --timeout", "timeout"),
        EngineBusyException busy => new(429, "too many requests wait already; try again later", "rate_limit_error",
            code: "rate_limit_exceeded")
        { RetryAfter = busy.RetryAfter },
        EngineStoppedException => new(503, "the server is shutting down", "server_error", code: "shutting_down"),
        TemplateException refused => new(400, $"the chat template refuses the messages: {refused.Message}", Invalid, "messages"),
        InputException problem => new(400, problem.Message, Invalid, problem.Key),
        BadHttpRequestException bad => new(bad.StatusCode, bad.Message),
        _ => new(500, $"internal error: {failure.GetType().Name}", "server_error"),
    };
}
