using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Adapters;

/// <summary>One link of what an adapter was trained on: a model, or an adapter over the links before it.</summary>
/// <param name="Name">As the recipe named it.</param>
/// <param name="Sha256">Of its weights and its config.</param>
internal sealed record ModelLink(string Name, string Sha256);

/// <summary>What an adapter was trained on, lowest first: the model, then the adapters between.</summary>
/// <remarks>It stands in the header of the adapter's tensors, where no reader minds it: a model of the same name with other weights, or the
/// model without the adapter between, would otherwise be taken without a word.</remarks>
internal sealed record AdapterChain(ValueList<ModelLink> Links)
{
    private const string Key = "trained_on";
    private const string QuantisedKey = "quantised";
    private const string BegunKey = "went_on_with";
    private const string MergedKey = "merged_from";
    private const string IntoKey = "merged_into";

    private static readonly JsonSerializerOptions s_plain = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>How the linear weights below were kept while the adapter was trained over them, e.g. <c>nf4, double</c>; null for as numbers.
    /// It says nothing of which weights they are.</summary>
    public string? Quantised { get; init; }

    /// <summary>The adapter that training went on with, as it stood when the run began: the reference of methods that compare with it. null
    /// for a new adapter.</summary>
    public ModelLink? Begun { get; init; }

    /// <summary>The codes that <see cref="Quantised"/> names; null for numbers.</summary>
    public QuantisedFormat? Codes
    {
        get
        {
            foreach (var kind in Enum.GetValues<QuantisedKind>())
                foreach (var isDouble in (bool[])[false, true])
                    if (new QuantisedFormat(kind, isDouble) is var format && format.ToString() == Quantised)
                        return format;
            return null;
        }
    }

    /// <summary>The chain as the header of the tensors says it.</summary>
    public IReadOnlyDictionary<string, string> Metadata
    {
        get
        {
            var said = new Dictionary<string, string>
            {
                ["format"] = "pt",
                [Key] = LinksAsJson,
            };
            if (Quantised is not null)
                said[QuantisedKey] = Quantised;
            if (Begun is not null)
                said[BegunKey] = Json([Begun]);
            return said;
        }
    }

    /// <summary>The chain as the header of the model says it that was merged from it; its last link is the uppermost adapter.</summary>
    /// <param name="into">What it was merged into, where there was a choice; null where there was none.</param>
    public IReadOnlyDictionary<string, string> MergedMetadata(string? into)
    {
        var said = new Dictionary<string, string> { ["format"] = "pt", [MergedKey] = LinksAsJson };
        if (into is not null)
            said[IntoKey] = into;
        return said;
    }

    private string LinksAsJson => Json(Links);

    private static string Json(IEnumerable<ModelLink> links) =>
        JsonSerializer.Serialize(links.Select(link => new[] { link.Name, link.Sha256 }), s_plain);

    /// <summary>What a header says; null where it says nothing, as other programs' do.</summary>
    public static AdapterChain? Of(IReadOnlyDictionary<string, string> metadata) => Read(metadata, Key) is { } links ? new(links)
    {
        Quantised = metadata.GetValueOrDefault(QuantisedKey),
        Begun = Read(metadata, BegunKey) is [var begun] ? begun : null,
    }
    : null;

    private static ValueList<ModelLink>? Read(IReadOnlyDictionary<string, string> metadata, string key)
    {
        try
        {
            return metadata.TryGetValue(key, out var text) && JsonSerializer.Deserialize<string?[]?[]>(text) is [_, ..] links
                && links.All(link => link is [not null, { Length: 64 } hash] && hash.All(char.IsAsciiHexDigitLower))
                ? [.. links.Select(link => new ModelLink(link![0]!, link[1]!))] : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>The chain of a folder's adapter; null where it has none.</summary>
    public static AdapterChain? Of(string folder)
    {
        using var files = Files.WeightFiles.Open(AdapterFolder.FileOf(folder));
        return Of(files.Metadata);
    }

    /// <summary>A model, or an adapter by itself, as a link.</summary>
    /// <param name="folder">Where it lies.</param>
    /// <param name="name">As the recipe named it.</param>
    public static ModelLink Link(string folder, string name) => new(name, FileHashes.OfBytes(Encoding.UTF8.GetBytes(
        string.Join('\n', ModelFolder.Files(folder).Select(file => $"{Path.GetFileName(file)} {FileHashes.Default.Of(file)}")))));

    /// <summary>How a plan keeps the linear weights of its model, in the words of <see cref="Quantised"/>.</summary>
    public static string? KeptAs(ParameterPlan plan) => plan.Rules.FirstOrDefault(rule => rule.Quantisation is not null)?.Quantisation?.Format
        .ToString();

    /// <summary>What a user should know of adapters that were trained over the same weights, but kept in another way.</summary>
    /// <param name="folders">Those that are used.</param>
    /// <param name="now">How the weights are kept where they are used; see <see cref="Quantised"/>.</param>
    public static IEnumerable<string> NotesOfOtherForm(IEnumerable<string> folders, string? now) =>
        from folder in folders
        let chain = Of(folder)
        where chain is not null && chain.Quantised != now
        group folder by chain.Quantised into same
        select $"trained over weights kept {Form(same.Key)}, and used over them kept {Form(now)}: {string.Join(", ", same)}; an adapter also "
            + "learns to make up for the rounding of codes, so its answers will not be quite those of training";

    private static string Form(string? quantised) => quantised is null ? "as numbers" : $"as {quantised}";

    /// <summary>The same for a person: names with the first letters of their hashes.</summary>
    public override string ToString() => string.Join(" + ", Links.Select(link => $"{link.Name} ({link.Sha256[..12]})"));

    /// <summary>Requires that an adapter meets the weights that it was trained on.</summary>
    /// <param name="adapter">The adapter's name, for the message.</param>
    /// <param name="actual">What it meets.</param>
    /// <exception cref="InputException">It meets others.</exception>
    public void Require(string adapter, AdapterChain actual)
    {
        if (Difference(adapter, actual) is { } difference)
            throw difference;
    }

    /// <summary>Whether both name the same weights, whatever their names are.</summary>
    public bool HasWeightsOf(AdapterChain other) => Links.Select(link => link.Sha256).SequenceEqual(other.Links.Select(link => link.Sha256));

    /// <summary>What is wrong with an adapter over <paramref name="actual"/>; null where it was trained on that.</summary>
    /// <param name="adapter">The adapter's name, for the message.</param>
    /// <param name="actual">What it meets.</param>
    public InputException? Difference(string adapter, AdapterChain actual)
    {
        if (HasWeightsOf(actual))
            return null;
        var missing = Links.Count > actual.Links.Count
            && Links.Take(actual.Links.Count).Select(link => link.Sha256).SequenceEqual(actual.Links.Select(link => link.Sha256));
        return new($"{adapter} was trained on {this}, but meets {actual}",
            why: missing ? $"without {string.Join(" and ", Links.Skip(actual.Links.Count).Select(link => link.Name))} below it, the adapter "
                + "corrects a model that is not there: such models talk nonsense"
                : "what an adapter learnt is a difference from exactly those weights; on others it is noise",
            fix: missing ? $"name {Links[^1].Name} as the model: an adapter's folder is found with everything below it"
                : $"name the model that it was trained on ({Links[0].Name}, weights {Links[0].Sha256[..12]}), or train the adapter anew");
    }
}
