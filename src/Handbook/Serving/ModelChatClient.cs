using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Models;
using Handbook.Models.Constraints;
using Handbook.Models.Generation;
using Handbook.Models.Serving;
using Handbook.Text.Templates;
using Handbook.Torch;
using Handbook.Training.Progress;
using Microsoft.Extensions.AI;

namespace Handbook.Serving;

/// <summary>A model in this process as an <see cref="IChatClient"/>: the engine of `handbook serve`, without a network between.</summary>
/// <remarks>
/// Any number of calls may run at once; they share one batch, and each gets the bits that it would get alone. Options that could have no
/// effect here are refused by name with an <see cref="InputException"/>. What the options leave open is the model's to say
/// (generation_config.json), and else a temperature of 1 and 1,024 tokens.
/// </remarks>
public sealed class ModelChatClient : IChatClient
{
    private const int DefaultAnswer = 1024;

    private readonly ServedModels _models;
    private readonly ChatClientMetadata _metadata;

    private ModelChatClient(ServedModels models)
    {
        _models = models;
        _metadata = new("handbook", null, models.All[0].Name);
    }

    /// <summary>Opens a model folder.</summary>
    /// <param name="model">A folder with a model or an adapter, or its name below <c>HANDBOOK_MODELS</c>.</param>
    /// <param name="adapters">Adapters beside it, name to folder: <see cref="ChatOptions.ModelId"/> chooses one. null for none.</param>
    /// <param name="compute">Element type of products.</param>
    /// <exception cref="InputException">A folder is not there, is no language model, or has no chat template.</exception>
    public static ModelChatClient Open(string model, IReadOnlyDictionary<string, string>? adapters = null, DType compute = DType.Float32)
    {
        var models = ServedModels.Open(ModelSource.Find(model), null, [.. (adapters ?? new Dictionary<string, string>())
            .Select(adapter => new NamedAdapter(adapter.Key, adapter.Value))], compute, null, new EngineOptions(), RunObservers.None);
        if (models.All[0].Prompts.CanChat)
            return new(models);
        models.Dispose();
        throw new InputException($"{model} has no chat template", why: "it has not learned to tell the turns of a conversation apart",
            fix: "use LanguageModel, which goes on from a text");
    }

    /// <inheritdoc/>
    public async Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null,
        CancellationToken cancellationToken = default) =>
        await GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        options ??= new();
        Refuse(options);
        var model = _models.Find(options.ModelId ?? _models.All[0].Name) ?? throw new InputException($"there is no model {options.ModelId} here",
            fix: $"there are: {string.Join(", ", _models.All.Select(one => one.Name))}");
        var (tools, json, forced) = Tools(model, options);
        var turns = Turns(options.Instructions is { } told ? messages.Prepend(new(ChatRole.System, told)) : messages);
        var prompt = model.Prompts.EncodeChat(turns, json is { } list ? new TemplateInputs(list, null, null) : null);
        var settings = Settings(model, options, prompt.Length, tools.Count > 0, forced);
        var (id, created) = ($"chat-{Guid.NewGuid():N}", DateTimeOffset.UtcNow);
        // Whoever stops listening ends the answer, too.
        using var leave = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var run = AnswerRun.Start(_models.Engine, model, prompt, settings, leave.Token);
        try
        {
            await foreach (var piece in run.Pieces(cancellationToken).ConfigureAwait(false))
            {
                var update = new ChatResponseUpdate(ChatRole.Assistant, piece.Text.Length > 0 ? [new TextContent(piece.Text)] : [])
                {
                    ResponseId = id,
                    MessageId = id,
                    CreatedAt = created,
                    ModelId = model.Name,
                };
                foreach (var call in piece.Calls)
                    update.Contents.Add(new FunctionCallContent(call.Id, call.Name, Arguments(call.Arguments)));
                if (piece.Finish is { } finish)
                {
                    update.FinishReason = finish switch
                    {
                        Finish.Length => ChatFinishReason.Length,
                        Finish.ToolCalls => ChatFinishReason.ToolCalls,
                        _ => ChatFinishReason.Stop,
                    };
                    update.Contents.Add(new UsageContent(new()
                    {
                        InputTokenCount = run.PromptTokens,
                        OutputTokenCount = run.AnswerTokens,
                        TotalTokenCount = run.PromptTokens + run.AnswerTokens,
                    }));
                }
                yield return update;
            }
        }
        finally
        {
            await leave.CancelAsync().ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        return serviceKey is not null ? null : serviceType == typeof(ChatClientMetadata) ? _metadata
            : serviceType.IsInstanceOfType(this) ? this : null;
    }

    /// <summary>Ends running answers, and frees the weights.</summary>
    public void Dispose() => _models.Dispose();

    private static void Refuse(ChatOptions options)
    {
        foreach (var (name, isSet) in new[]
        {
            (nameof(options.ConversationId), options.ConversationId is not null),
            (nameof(options.Reasoning), options.Reasoning is not null),
            (nameof(options.RawRepresentationFactory), options.RawRepresentationFactory is not null),
            (nameof(options.AdditionalProperties), options.AdditionalProperties is { Count: > 0 }),
        })
            if (isSet)
                throw new InputException($"ChatOptions.{name} is set, and could have no effect here", fix: "leave it null");
    }

    private static AnswerSettings Settings(ServedModel model, ChatOptions options, int prompt, bool readsCalls, TokenGrammar? forced)
    {
        var room = model.Window - prompt;
        if (room < 1 || options.MaxOutputTokens > room)
            throw new InputException($"the messages have {prompt} tokens, and the answer may have {options.MaxOutputTokens ?? 1}: more than the "
                + $"model's window of {model.Window}", fix: "leave older messages out, or ask for fewer tokens");
        var format = options.ResponseFormat is not ChatResponseFormatJson json ? null : json.Schema is { } schema
            ? model.Grammar($"schema {schema.GetRawText()}", () => SchemaGrammar.Of(schema, "ChatOptions.ResponseFormat"))
            : model.Grammar("json_object", () => JsonGrammar.Object);
        if (format is not null && readsCalls)
            throw new InputException("ChatOptions.ResponseFormat stands beside Tools", why: "an answer is either a call or of a format",
                fix: "leave one of them out");
        var wishes = SamplingOptions.Of(model.Defaults with { DoSample = model.Defaults.DoSample ?? true });
        var grammar = forced ?? format;
        var stops = options.StopSequences ?? [];
        return new()
        {
            Stops = stops.Contains("") ? throw new InputException("ChatOptions.StopSequences has an empty text", fix: "leave it out") : [.. stops],
            Constraint = grammar is null ? null : () => grammar.Begin(model.Prompts.StopIds),
            Tools = readsCalls ? model.Tools : null,
            SeveralCalls = options.AllowMultipleToolCalls ?? true,
            Sampling = wishes with
            {
                MaxNewTokens = options.MaxOutputTokens ?? Math.Min(room, model.Defaults.MaxNewTokens ?? DefaultAnswer),
                Temperature = options.Temperature ?? wishes.Temperature,
                TopP = options.TopP ?? wishes.TopP,
                TopK = options.TopK ?? wishes.TopK,
                FrequencyPenalty = options.FrequencyPenalty ?? 0,
                PresencePenalty = options.PresencePenalty ?? 0,
                Seed = options.Seed ?? Random.Shared.NextInt64(),
                StopIds = model.Prompts.StopIds,
            },
        };
    }

    /// <summary>The tools, the same as chat templates take them, and the call that must be made.</summary>
    private static (IReadOnlyList<Tool> Tools, JsonElement? Json, TokenGrammar? Forced) Tools(ServedModel model, ChatOptions options)
    {
        if (options.Tools is not { Count: > 0 } given || options.ToolMode is NoneChatToolMode)
            return options.ToolMode is RequiredChatToolMode ? throw new InputException("ChatOptions.ToolMode wants a call, but there are no Tools",
                fix: "add them") : ([], null, null);
        var tools = given.Select(tool => tool is AIFunctionDeclaration function ? function : throw new InputException(
            $"the tool {tool.Name} is no function", fix: "only functions can be called here")).ToArray();
        var json = JsonSerializer.SerializeToElement(new JsonArray([.. tools.Select(tool => new JsonObject
        {
            ["type"] = "function",
            ["function"] = new JsonObject
            {
                ["name"] = tool.Name,
                ["description"] = tool.Description,
                ["parameters"] = JsonNode.Parse(tool.JsonSchema.GetRawText()),
            },
        })]));
        if (model.Tools is not { } form || !model.IsTold(json))
            throw new InputException($"tools cannot be told to {model.Name}",
                why: "its chat template has no place for them, or shows calls in a form that is not known here",
                fix: "use a model whose template does (<tool_call>, [TOOL_CALLS], or Llama 3's JSON)");
        var all = tools.Select(tool => new Tool(tool.Name, tool.JsonSchema)).ToArray();
        if (options.ToolMode is not RequiredChatToolMode required)
            return (all, json, null);
        var taken = all.Where(tool => required.RequiredFunctionName is null || tool.Name == required.RequiredFunctionName)
            .Select(tool => (tool, $"the parameters of {tool.Name}")).ToArray();
        return taken.Length > 0
            ? (all, json, model.Grammar($"call {JsonSerializer.Serialize(taken.Select(one => one.tool))}", () => form.OneOf(taken)))
            : throw new InputException($"ChatOptions.ToolMode names {required.RequiredFunctionName}, which is none of the tools", fix: "add it");
    }

    private static JsonElement Turns(IEnumerable<ChatMessage> messages)
    {
        var turns = new JsonArray();
        foreach (var message in messages)
        {
            var turn = new JsonObject { ["role"] = message.Role.Value };
            var calls = new JsonArray();
            foreach (var content in message.Contents)
                switch (content)
                {
                    case TextContent text:
                        turn["content"] = (string?)turn["content"] + text.Text;
                        break;
                    case FunctionCallContent call:
                        calls.Add(new JsonObject
                        {
                            ["id"] = call.CallId,
                            ["type"] = "function",
                            ["function"] = new JsonObject { ["name"] = call.Name, ["arguments"] = JsonSerializer.Serialize(call.Arguments) },
                        });
                        break;
                    case FunctionResultContent result:
                        turns.Add(new JsonObject
                        {
                            ["role"] = "tool",
                            ["tool_call_id"] = result.CallId,
                            ["content"] = result.Result as string ?? JsonSerializer.Serialize(result.Result),
                        });
                        break;
                    case UsageContent:
                        break;          // a number of an earlier answer, not a part of what was said
                    default:
                        throw new InputException($"a message holds {content.GetType().Name}", fix: "only texts, calls and their results can be read");
                }
            if (calls.Count > 0)
                turn["tool_calls"] = calls;
            if (turn.Count == 1)
                continue;               // its results are turns of their own
            turn["content"] ??= "";
            turns.Add(turn);
        }
        return turns.Count > 0 ? JsonSerializer.SerializeToElement(turns) : throw new InputException("there are no messages", fix: "say something");
    }

    private static Dictionary<string, object?>? Arguments(string json)
    {
        try
        {
            return JsonSerializer.Deserialize<Dictionary<string, object?>>(json);
        }
        catch (JsonException)
        {
            return null;                // a model's text of arguments that are none
        }
    }
}
