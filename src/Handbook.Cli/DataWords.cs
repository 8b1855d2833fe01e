using System.CommandLine;
using Handbook.Data.Mixing;

namespace Handbook.Cli;

/// <summary>A data set that a command names, with the options that say what of it is read.</summary>
/// <param name="splits">What <c>--split</c> means.</param>
internal sealed class DataWords(string splits)
{
    private readonly Option<string?> _split = new("--split") { Description = splits, HelpName = "SPLIT" };
    private readonly Option<string?> _config = new("--config") { Description = "the configuration (subset) to read", HelpName = "NAME" };
    private readonly Option<string?> _encoding = new("--encoding")
    { Description = "the encoding of text files that are not UTF-8", HelpName = "NAME" };

    public IEnumerable<Option> All => [_split, _config, _encoding];

    /// <summary>The split that is asked for; null where none is.</summary>
    public string? Split(ParseResult args) => args.GetValue(_split);

    /// <summary>Whether something is said that only a data set has.</summary>
    public bool NamesSet(ParseResult args) => (args.GetValue(_config) ?? args.GetValue(_encoding)) is not null;

    /// <summary>The set; without a split its rows to train on.</summary>
    public DatasetSpec Read(ParseResult args, string data) => new()
    { Id = data, Split = Split(args) ?? "train", Config = args.GetValue(_config), Encoding = args.GetValue(_encoding) };
}
