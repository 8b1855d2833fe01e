using Handbook.Base;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Text.Tokenizers;
using Handbook.Training.Checkpoints;

namespace Handbook.Runs;

/// <summary>A tokenizer with more special tokens, and its model with the rows that these need, in a folder of their own.</summary>
internal static class AddTokensRun
{
    /// <param name="source">Folder of a tokenizer, with or without a model.</param>
    /// <param name="tokens">Special tokens to add.</param>
    /// <param name="change">What else the tokenizer gets: names, a template.</param>
    /// <param name="multiple">What the number of rows is made a multiple of; null for as many as are needed.</param>
    /// <param name="seed">Seed of the new rows.</param>
    /// <param name="output">A folder that does not exist yet, or is empty.</param>
    /// <returns>The tokenizer, and the rows of the tables before and after; null where there is no model.</returns>
    /// <exception cref="InputException">Something the user can fix; the folder is as it was.</exception>
    public static (Tokenizer Tokenizer, (int Before, int After)? Rows) Run(string source, IReadOnlyList<string> tokens,
        IReadOnlyDictionary<string, string> roles, Func<Tokenizer, Tokenizer> change, int? multiple, long seed, string output)
    {
        var folder = ModelFolder.LocateOrSelf(source);
        MergePlace.Require(output, [("model", Directory.Exists(folder) ? folder : null)]);
        if (Directory.Exists(folder) && ModelFolder.IsAdapter(folder))
            throw new InputException($"{source} is an adapter", why: "rows are added to the tables of a whole model",
                fix: $"merge it first: handbook merge {source} --out FOLDER; or name new_special_tokens in the recipe that trains on");
        var tokenizer = change(Tokenizer.Load(folder).WithTokens(tokens, roles));
        (int Before, int After)? rows = null;
        if (!Directory.Exists(folder) || !ModelFolder.HasWeights(folder))
        {
            if (multiple is not null)
                throw new InputException($"--resize-to-multiple-of: {source} has no weights", why: "rows belong to a model's tables",
                    fix: "leave it out, or name the folder of the model");
            MergePlace.Write(output, tokenizer.SavedBytes, tokenizer.Save);
            return (tokenizer, rows);
        }
        var config = PublishedConfig.Load(folder);
        var before = config.Decoder.VocabularySize;
        var growth = VocabularyGrowth.RowsFor(NewModel.IdCount(tokenizer), before, multiple) is { } grown
            ? new VocabularyGrowth(grown, seed) : null;
        if (growth is not null)
            config = config.With(("vocab_size", growth.Rows));
        // The head of a reward model has no row a token, but its embedding has.
        using var weights = ModelWeights.Open(folder, config, growth: growth);
        using var files = WeightFiles.Open(folder);
        var tables = weights.GrownTables.ToHashSet();
        // A head that is the embedding may lie in the file once more; the copy would no longer be one.
        TensorToSave[] tensors = [.. files.Names
            .Where(name => !(growth is not null && config.Decoder.TiedHead && name == config.Family.HeadName && !tables.Contains(name)))
            .Select(name => TensorToSave.From(tables.Contains(name) ? growth!.Grow(files.Read(name)) : files.Read(name)))];
        var generation = GenerationDefaults.Load(folder, config.Decoder);
        MergePlace.Write(output, tensors.Sum(tensor => tensor.Info.ByteCount) + tokenizer.SavedBytes, place =>
        {
            WeightFilesWriter.Save(place, tensors, files.Metadata.Count > 0 ? new() { Metadata = files.Metadata } : null);
            SavedModel.WriteFiles(place, config, generation, tokenizer);
        });
        return (tokenizer, (before, config.Decoder.VocabularySize));
    }
}
