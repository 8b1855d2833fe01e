using System.CommandLine;
using Handbook.Base;
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

    private readonly Option<string?> _over = new("--over")
    {
        Description = "of an adapter that was trained over quantised weights (QLoRA): dequantised, the values of these codes, which it was "
            + "trained over (the default), or original, the weights from which they were made",
        HelpName = "dequantised|original"
    };

    /// <summary>The argument that names the model; it stands first.</summary>
    public Argument<string> Model { get; } = new("model")
    { Description = $"{description}; an adapter's folder means what lies below it, too" };

    public void AddTo(Command command)
    {
        _over.AcceptOnly("dequantised", "original");
        command.Options.Add(_adapter);
        command.Options.Add(_over);
    }

    /// <summary>What was named.</summary>
    /// <exception cref="InputException">It is not there, or the adapter does not belong to the model.</exception>
    public ModelSource Source(ParseResult args)
    {
        var source = ModelSource.Find(HubWords.Model(args.GetRequiredValue(Model)));
        if (args.GetValue(_adapter) is { } adapter)
            source = source.With(HubWords.Model(adapter), "--adapter");
        return args.GetValue(_over) is not { } over ? source
            : source.Recorded is not null ? source.Over(original: over == "original")
            : throw new InputException($"--over {over}, but {source.Name} was trained over no quantised weights",
                why: "it says whether codes that an adapter was trained over are used, or the weights from which they were made",
                fix: "leave --over out");
    }
}
