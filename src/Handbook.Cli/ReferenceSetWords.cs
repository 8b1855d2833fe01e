using System.CommandLine;
using Handbook.Base.Keys;
using Handbook.Data.Decontamination;

namespace Handbook.Cli;

/// <summary>The options that say which texts of a set are reference texts.</summary>
/// <param name="prefix">Stands before their names where other sets have such options, too.</param>
internal sealed class ReferenceSetWords(string prefix)
{
    private readonly Option<string?> _split = new($"--{prefix}split")
    { Description = "the split of the reference set, also a slice; without it all that there are", HelpName = "SPLIT" };
    private readonly Option<string?> _config = new($"--{prefix}config")
    { Description = "the configuration (subset) of the reference set", HelpName = "NAME" };
    private readonly Option<string?> _columns = new($"--{prefix}columns")
    { Description = "the columns whose texts count, with commas between them; without it every text of a row", HelpName = "NAME,…" };
    private readonly Option<string> _form = new($"--{prefix}form")
    { Description = "what of a row is a reference text: text, or human_eval for its columns of code", DefaultValueFactory = _ => "text" };
    private readonly Option<int> _minLength = new("--min-length")
    {
        Description = "reference texts of fewer characters are not looked for",
        DefaultValueFactory = _ => new DecontaminationOptions().MinLength,
        HelpName = "N",
    };

    public IEnumerable<Option> All
    {
        get
        {
            _form.AcceptOnly([.. RecipeNames.Spellings(typeof(ReferenceForm)).Select(spelling => spelling.Name)]);
            return [_split, _config, _columns, _form, _minLength];
        }
    }

    public DecontaminationOptions Read(ParseResult args, IEnumerable<string> sets) => new()
    {
        OptionPrefix = prefix,
        MinLength = args.GetValue(_minLength),
        Against = [.. sets.Select(set => new ReferenceEntry
        {
            Id = set,
            Split = args.GetValue(_split),
            Config = args.GetValue(_config),
            Columns = args.GetValue(_columns)?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries),
            Form = (ReferenceForm)RecipeNames.Spellings(typeof(ReferenceForm)).First(spelling => spelling.Name == args.GetValue(_form)).Value,
        })],
    };
}
