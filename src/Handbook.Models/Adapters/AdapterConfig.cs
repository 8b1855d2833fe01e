using System.Text.Json.Nodes;

namespace Handbook.Models.Adapters;

/// <summary>How a new adapter begins.</summary>
internal enum AdapterInit
{
    /// <summary>A uniform within ±1/√in (Kaiming, a = √5), B zero: the model begins as it is.</summary>
    Default,

    /// <summary>A normal with deviation 1/r, B zero.</summary>
    Gaussian,

    /// <summary>Both random: for tests of what an adapter adds.</summary>
    Random,

    /// <summary>Principal singular vectors of the weight. Meng et al. 2024, arXiv:2404.02948.</summary>
    Pissa,

    /// <summary>A QR decomposition of the weight. Büyükakyüz 2024, arXiv:2406.01775.</summary>
    Olora,
}

/// <summary>Which biases of the model are trained beside an adapter, and saved with it; PEFT's <c>bias</c>.</summary>
internal enum AdapterBias
{
    None,

    /// <summary>Every bias that the model has, those of norms too.</summary>
    All,

    /// <summary>Those of the layers that have an adapter.</summary>
    LoraOnly,
}

/// <summary>What an adapter is, under PEFT's names in <c>adapter_config.json</c>.</summary>
internal sealed record AdapterConfig
{
    /// <summary>r.</summary>
    public int Rank { get; init; } = 8;

    /// <summary>α: the factor is α/r, with rsLoRA α/√r.</summary>
    public double Alpha { get; init; } = 8;

    /// <summary>Share of an adapter's input that is dropped while training.</summary>
    public double Dropout { get; init; }

    /// <summary>The layers that get an adapter; null for the usual ones of the family.</summary>
    public ModuleNames? Targets { get; init; }

    /// <summary>Parameters that get an adapter although no layer holds them alone: ends of their paths, such as
    /// <c>mlp.experts.gate_up_proj</c>.</summary>
    public ValueList<string> TargetParameters { get; init; } = [];

    /// <summary>Layers that get none although <see cref="Targets"/> names them.</summary>
    public ModuleNames? Excluded { get; init; }

    /// <summary>Numbers of the only layers that get adapters; empty for all.</summary>
    public ValueList<int> Layers { get; init; } = [];

    /// <summary>What the list of layers is called in the paths; empty for whatever stands before a number.</summary>
    public ValueList<string> LayersPattern { get; init; } = [];

    /// <summary>Ranks of single layers, by regular expressions.</summary>
    public IReadOnlyDictionary<string, double> RankPattern { get; init; } = new Dictionary<string, double>();

    /// <summary>α of single layers, by regular expressions.</summary>
    public IReadOnlyDictionary<string, double> AlphaPattern { get; init; } = new Dictionary<string, double>();

    /// <summary>Modules that are trained whole and saved beside the adapter.</summary>
    public ValueList<string> ModulesToSave { get; init; } = [];

    /// <summary>Token ids whose rows are trained, by the embedding's name; empty for none.</summary>
    public IReadOnlyDictionary<string, ValueList<int>> TrainedTokens { get; init; } = new Dictionary<string, ValueList<int>>();

    /// <summary>Whether the factor is α/√r. Kalajdzievski 2023, arXiv:2312.03732.</summary>
    public bool UseRslora { get; init; }

    /// <summary>Whether rows of a layer have a magnitude. Liu et al. 2024, arXiv:2402.09353.</summary>
    public bool UseDora { get; init; }

    /// <summary>Which of the model's own biases are trained.</summary>
    public AdapterBias Bias { get; init; }

    /// <summary>Whether B has a bias.</summary>
    public bool LoraBias { get; init; }

    /// <summary>Whether a tied head follows a trained embedding.</summary>
    public bool TieWeights { get; init; }

    /// <summary>How a new one begins.</summary>
    public AdapterInit Init { get; init; }

    /// <summary>CAUSAL_LM, or SEQ_CLS for reward models.</summary>
    public string TaskType { get; init; } = "CAUSAL_LM";

    /// <summary>The model that it was trained on, as its file says it.</summary>
    public string? BaseModel { get; init; }

    /// <summary>That model's revision.</summary>
    public string? Revision { get; init; }

    /// <summary>The file as it was read, whose other keys are kept; null for a new one.</summary>
    public JsonObject? Json { get; init; }

    /// <summary>Keys of the file with a value that are not known, and change nothing here.</summary>
    public ValueList<string> UnknownKeys { get; init; } = [];

    /// <summary>The rank of one module.</summary>
    public int RankOf(string module) => (int)ModuleNames.Pick(RankPattern, module, Rank);

    /// <summary>The factor of one module.</summary>
    public double ScaleOf(string module)
    {
        var (alpha, rank) = (ModuleNames.Pick(AlphaPattern, module, Alpha), RankOf(module));
        return alpha / (UseRslora ? Math.Sqrt(rank) : rank);
    }
}
