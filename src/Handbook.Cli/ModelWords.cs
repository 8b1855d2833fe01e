using System.CommandLine;
using Handbook.Models;

namespace Handbook.Cli;

/// <summary>The words of a command that uses a model: the model, and an adapter that is put over it.</summary>
/// <param name="description">What the model is.</param>
internal sealed class ModelWords(string description)
{
    private readonly Option<string?> _adapter = new("--adapter")
    {
        Description = "put this adapter over the model, without merging; it must have been trained on it",
        HelpName = "FOLDER"
    };

    /// <summary>The argument that names the model; it stands first.</summary>
    public Argument<string> Model { get; } = new("model")
    { Description = $"{description}; an adapter's folder means what lies below it, too" };

    public void AddTo(Command command) => command.Options.Add(_adapter);

    /// <summary>What was named.</summary>
    /// <exception cref="Base.InputException">It is not there, or the adapter does not belong to the model.</exception>
    public ModelSource Source(ParseResult args)
    {
        var source = ModelSource.Find(args.GetRequiredValue(Model));
        return args.GetValue(_adapter) is { } adapter ? source.With(adapter, "--adapter") : source;
    }
}
