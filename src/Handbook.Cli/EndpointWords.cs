using System.CommandLine;
using Handbook.Base;
using Handbook.Training.Sampling.Endpoints;

namespace Handbook.Cli;

/// <summary>The options of a command that asks a model on an OpenAI-compatible endpoint.</summary>
internal sealed class EndpointWords
{
    private readonly Option<string?> _address = new("--base-url")
    { Description = "address of an OpenAI-compatible endpoint, with /v1; without it, OpenAI's own" };
    private readonly Option<string?> _model = new("--endpoint-model")
    { Description = "the model on the endpoint; its key is taken from OPENAI_API_KEY" };

    /// <summary>Requests at the same time.</summary>
    public Option<int> Parallel { get; } = new("--parallel")
    {
        Description = "requests to the endpoint at the same time",
        DefaultValueFactory = _ => 4
    };

    public void AddTo(Command command)
    {
        foreach (var option in (Option[])[_address, _model, Parallel])
            command.Options.Add(option);
    }

    /// <summary>The model there; null where none is asked.</summary>
    /// <exception cref="InputException">An address is given without a model.</exception>
    public string? Model(ParseResult args) => args.GetValue(_model) is { } model ? model
        : args.GetValue(_address) is null ? null
        : throw new InputException("--base-url is given without --endpoint-model", fix: "name the model to ask there");

    /// <summary>Where it is; null for OpenAI's own.</summary>
    public string? Address(ParseResult args) => args.GetValue(_address);

    /// <exception cref="InputException">The address or the key is missing or malformed.</exception>
    public ChatEndpoint Open(ParseResult args, Action<string> say) => new(new()
    {
        BaseUrl = args.GetValue(_address),
        Model = args.GetValue(_model)!,
        Parallel = args.AtLeastOne(Parallel, "use 4"),
        Say = say,
    });
}
