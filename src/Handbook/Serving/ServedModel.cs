using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Text.Tokenizers;
using Decoder = Handbook.Models.Decoder;

namespace Handbook.Serving;

/// <summary>A model that is asked by its name: the network with the adapters that are active in it, and how texts become its tokens.</summary>
internal sealed class ServedModel
{
    /// <param name="name">What clients call it.</param>
    /// <param name="folder">Where its tokenizer and template come from, for messages.</param>
    /// <param name="base">The name of the model below its adapter; null for the model itself.</param>
    /// <param name="window">Most tokens of a prompt with its answer.</param>
    public ServedModel(string name, string folder, Decoder network, Tokenizer tokenizer, GenerationDefaults defaults, string? @base, int window)
    {
        (Name, Folder, Network, Tokenizer, Defaults, Base, Window) = (name, folder, network, tokenizer, defaults, @base, window);
        Prompts = new PromptEncoder(folder, tokenizer, defaults);
    }

    public string Name { get; }

    public string Folder { get; }

    public string? Base { get; }

    public Decoder Network { get; }

    public Tokenizer Tokenizer { get; }

    public GenerationDefaults Defaults { get; }

    /// <summary>Most tokens of a prompt with its answer.</summary>
    public int Window { get; }

    public PromptEncoder Prompts { get; }

    /// <summary>Since when it is served.</summary>
    public DateTimeOffset Since { get; } = DateTimeOffset.UtcNow;
}
