using System.Text.Json;
using Handbook.Models;
using Handbook.Models.Constraints;
using Handbook.Models.Generation;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Decoder = Handbook.Models.Decoder;

namespace Handbook.Serving;

/// <summary>A model that is asked by its name: the network with the adapters that are active in it, and how texts become its tokens.</summary>
internal sealed class ServedModel
{
    /// <summary>Most grammars that are kept, and states of one: what tokens may come is worked out once for each.</summary>
    private const int MostGrammars = 32, MostStates = 5000;

    private readonly Lazy<ToolForm?> _tools;
    private readonly Lazy<TokenTable> _tokens;
    private readonly Dictionary<string, TokenGrammar> _grammars = [];

    /// <param name="name">What clients call it.</param>
    /// <param name="folder">Where its tokenizer and template come from, for messages.</param>
    /// <param name="base">The name of the model below its adapter; null for the model itself.</param>
    /// <param name="window">Most tokens of a prompt with its answer.</param>
    public ServedModel(string name, string folder, Decoder network, Tokenizer tokenizer, GenerationDefaults defaults, string? @base,
        int window)
    {
        (Name, Folder, Network, Tokenizer, Defaults, Base, Window) = (name, folder, network, tokenizer, defaults, @base, window);
        Prompts = new PromptEncoder(folder, tokenizer, defaults);
        _tools = new(() => ToolForm.Of(tokenizer));
        _tokens = new(() => new(tokenizer, network.Config.VocabularySize, ToolForm.Markers));
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

    /// <summary>How the model calls tools; null where its chat template does not tell.</summary>
    public ToolForm? Tools => _tools.Value;

    /// <summary>Whether the chat template tells the model of tools.</summary>
    /// <param name="tools">A JSON list of them, as requests have it.</param>
    public bool IsTold(JsonElement tools) => Prompts.CanChat && !TemplateEffects.Without(
        ChatTemplate.Of(Tokenizer, $"{Folder}: chat template"), new Conversation
        {
            Messages = JsonSerializer.SerializeToElement(new[] { new { role = "user", content = "x" } }),
            Tools = tools,
        }, new RenderOptions { SpecialTokens = Tokenizer.SpecialTokens, AddGenerationPrompt = true }).Contains(new("tools"));

    /// <summary>A grammar over the model's tokens.</summary>
    /// <param name="key">What it is of.</param>
    /// <exception cref="Base.InputException">There is no such grammar.</exception>
    public TokenGrammar Grammar(string key, Func<Grammar> make)
    {
        lock (_grammars)
        {
            if (_grammars.TryGetValue(key, out var known) && known.States < MostStates)
                return known;
            if (_grammars.Count >= MostGrammars)
                _grammars.Clear();
            return _grammars[key] = new(make(), _tokens.Value);
        }
    }

    /// <summary>Since when it is served.</summary>
    public DateTimeOffset Since { get; } = DateTimeOffset.UtcNow;
}
