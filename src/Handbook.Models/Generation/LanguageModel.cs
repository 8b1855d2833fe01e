using System.Text.Json;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Models.Generation;

/// <summary>A model folder ready to answer: network, tokenizer, chat template, and what ends an answer.</summary>
public sealed class LanguageModel : IDisposable
{
    private readonly bool _owned;

    private LanguageModel(string folder, Decoder network, Tokenizer tokenizer, GenerationDefaults defaults, bool owned)
    {
        (Folder, Network, Tokenizer, Defaults, _owned) = (folder, network, tokenizer, defaults, owned);
        Prompts = new PromptEncoder(folder, tokenizer, defaults);
    }

    /// <summary>Prompts as the model reads them.</summary>
    internal PromptEncoder Prompts { get; }

    /// <summary>Where the model came from.</summary>
    public string Folder { get; }

    /// <summary>What a user should know of how it was found and read.</summary>
    internal IReadOnlyList<string> Notes { get; private init; } = [];

    /// <summary>The network, in evaluation.</summary>
    public Decoder Network { get; }

    /// <summary>Turns text into ids and back.</summary>
    public Tokenizer Tokenizer { get; }

    /// <summary>How the model would like to be sampled.</summary>
    public GenerationDefaults Defaults { get; }

    /// <summary>Whether the model has a chat template.</summary>
    public bool CanChat => Prompts.CanChat;

    /// <summary>The end tokens of the model and of the tokenizer, and the one that ends a turn of the chat template.</summary>
    public IReadOnlyList<int> StopIds => Prompts.StopIds;

    /// <summary>Opens a model folder with products in float32.</summary>
    /// <inheritdoc cref="Open(string, DType, Tokenizer?)"/>
    public static LanguageModel Open(string folder) => Open(folder, DType.Float32);

    /// <param name="folder">A model folder, or its name below <c>HANDBOOK_MODELS</c>.</param>
    /// <param name="compute">Element type of products.</param>
    /// <param name="tokenizer">The tokenizer to use; null for the folder's own.</param>
    public static LanguageModel Open(string folder, DType compute, Tokenizer? tokenizer = null) =>
        Open(ModelSource.Find(folder), compute, tokenizer);

    /// <summary>A model with the adapters over it.</summary>
    /// <inheritdoc cref="Open(string, DType, Tokenizer?)"/>
    /// <param name="load">As <see cref="ModelSource.Load"/> has it.</param>
    internal static LanguageModel Open(ModelSource source, DType compute, Tokenizer? tokenizer = null,
        Func<ModelWeights, ParameterPlan, Decoder>? load = null)
    {
        TorchRuntime.Load();
        var config = source.Config();
        var folder = source.HavingTokenizer;
        tokenizer ??= Tokenizer.Load(folder);
        var defaults = GenerationDefaults.Load(source.Having(GenerationDefaults.FileName), config.Decoder);
        var network = source.Load(config, compute, roundsInputs: true, load);
        try
        {
            return new(folder, network, tokenizer, defaults, owned: true) { Notes = source.Notes };
        }
        catch
        {
            network.Dispose();
            throw;
        }
    }

    /// <summary>A network that is in memory already, such as the one that is being trained; it stays the caller's.</summary>
    /// <param name="folder">Where it came from, for messages and for how it would like to be sampled.</param>
    public static LanguageModel Around(Decoder network, Tokenizer tokenizer, string folder) =>
        new(folder, network, tokenizer, GenerationDefaults.Load(folder, network.Config), owned: false);

    /// <summary>Answers a question, or goes on from a text where the model has no chat template.</summary>
    /// <param name="prompt">What the user says.</param>
    /// <param name="sampling">How to draw; null as the model wishes, which is the likeliest token unless its generation_config.json says
    /// more.</param>
    /// <param name="cancel">Stops between tokens with an <see cref="OperationCanceledException"/>.</param>
    public string Answer(string prompt, SamplingOptions? sampling = null, CancellationToken cancel = default)
    {
        var ids = CanChat ? EncodeChat(JsonSerializer.SerializeToElement(new[] { new { role = "user", content = prompt } }))
            : EncodeText(prompt);
        var options = sampling ?? SamplingOptions.Of(Defaults);
        var answer = new Generator(Network).Generate([ids], options.StopIds.Count > 0 ? options : options with { StopIds = StopIds },
            cancel: cancel)[0];
        var text = new AnswerText(Tokenizer, [], CanChat ? [] : ids);
        foreach (var token in answer.Tokens)
            text.Append(token);
        text.Finish();
        return text.Text;
    }

    /// <summary>A text to go on from, with the begin token that the tokenizer adds, but never two.</summary>
    public int[] EncodeText(string text) => Prompts.EncodeText(text);

    /// <summary>A conversation up to the assistant's next turn.</summary>
    /// <param name="messages">A JSON list of objects with role and content.</param>
    /// <param name="inputs">What the chat template is given beside them; null for nothing.</param>
    public int[] EncodeChat(JsonElement messages, TemplateInputs? inputs = null) => Prompts.EncodeChat(messages, inputs);

    /// <summary>Frees the network, unless it is the caller's.</summary>
    public void Dispose()
    {
        if (_owned)
            Network.Dispose();
    }
}
