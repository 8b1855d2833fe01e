using System.Globalization;
using System.Text;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers.Models;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Metrics;
using Handbook.Training.Optimizers;

namespace Handbook.Runs;

/// <summary>What the card says about how the model was trained; names as in the Python trainer's list.</summary>
internal sealed record CardHyperparameters
{
    public required double LearningRate { get; init; }

    /// <summary>Rows per device and micro-batch.</summary>
    public required int TrainBatchSize { get; init; }

    public required int EvalBatchSize { get; init; }

    public required long Seed { get; init; }

    public int DeviceCount { get; init; } = 1;

    public int GradientAccumulationSteps { get; init; } = 1;

    /// <summary>What really stepped, with its constants: <c>AdamW (adamw_torch) with betas=(0.9, 0.999), epsilon=1e-08,
    /// weight_decay=0.0</c>.</summary>
    public required string Optimizer { get; init; }

    public required string Scheduler { get; init; }

    public double WarmupRatio { get; init; }

    public int WarmupSteps { get; init; }

    /// <summary>Null where <see cref="TrainingSteps"/> decided.</summary>
    public double? Epochs { get; init; }

    /// <summary>Null where <see cref="Epochs"/> decided.</summary>
    public int? TrainingSteps { get; init; }

    /// <summary>E.g. <c>bf16 compute, f32 master weights</c>; null for plain f32.</summary>
    public string? MixedPrecision { get; init; }

    /// <summary>Keys of the method that the recipe sets, such as <c>beta</c>, with their values.</summary>
    public IReadOnlyList<(string Key, string Value)> Others { get; init; } = [];
}

/// <summary>The model card, <c>README.md</c>: the facts of both the automatic card of the Python trainer and that of TRL, with the true
/// optimizer.</summary>
internal sealed record ModelCard
{
    /// <summary>The model's name: the last part of <c>output_dir</c> or of the hub id.</summary>
    public required string Name { get; init; }

    /// <summary>The folder that the model lies in, for commands to copy; null where only its name is known.</summary>
    public string? Folder { get; init; }

    /// <summary>What the training began from, e.g. <c>HuggingFaceTB/SmolLM2-135M</c>; null for a new model.</summary>
    public string? BaseModel { get; init; }

    /// <summary>The base model's licence, as in its card; null where it is not known.</summary>
    public string? License { get; init; }

    /// <summary>Name and link of the licence, where the hub has no name for it.</summary>
    public (string? Name, string? Link) OtherLicense { get; init; }

    /// <summary>The models that it was made from, lowest first; <see cref="BaseModel"/> is the last.</summary>
    public IReadOnlyList<CardAncestor> Chain { get; init; } = [];

    /// <summary>The method as its command is called: <c>sft</c>, <c>cpt</c>, <c>dpo</c>, ….</summary>
    public required string Method { get; init; }

    public IReadOnlyList<string> Datasets { get; init; } = [];

    /// <summary>Those of <see cref="BaseModel"/> and <see cref="Datasets"/> that are paths of the machine the run was on: no hub has
    /// them.</summary>
    public IReadOnlyCollection<string> LocalPaths { get; init; } = [];

    /// <summary>What it is an adapter of; null for a whole model. The library is peft then.</summary>
    public CardAdapter? Adapter { get; init; }

    /// <summary>Architecture, size, context length, in a sentence or two; null leaves the section to the author.</summary>
    public string? Description { get; init; }

    /// <summary>The picture of its loss, beside the card; null where there is none.</summary>
    public string? Plot { get; init; }

    /// <summary>How many rows and tokens were used, of each data set; null leaves the section to the author.</summary>
    public string? DataDescription { get; init; }

    /// <summary>The recipe's <c>tags</c>; those that every card has are added.</summary>
    public IReadOnlyList<string> Tags { get; init; } = [];

    public required CardHyperparameters Hyperparameters { get; init; }

    /// <summary>Results on the evaluation set, with names beginning <c>eval_</c>; null where there was none.</summary>
    public MetricSet? Evaluation { get; init; }

    /// <summary>Name → version; those of this project and .NET are added.</summary>
    public IReadOnlyDictionary<string, string> Versions { get; init; } = new Dictionary<string, string>();

    /// <param name="state">The run's history: the source of the results table.</param>
    internal string ToMarkdown(TrainerState state)
    {
        var text = new StringBuilder();
        Header(text);
        text.Append($"# {Name}\n\n{Sentence()}\n\n");
        Results(text);
        text.Append($"## Model description\n\n{Description ?? Unknown}\n\n");
        text.Append($"## Intended uses & limitations\n\n{Unknown}\n\n");
        text.Append($"## Training and evaluation data\n\n{DataDescription ?? Unknown}\n\n");
        Origin(text);
        Adapter?.Append(text);
        QuickStart(text);
        text.Append("## Training procedure\n\n").Append(Procedure()).Append("\n\n");
        HyperparameterList(text);
        ResultsTable(text, state);
        if (Plot is not null)
            text.Append($"![Loss of training and of the rows held out]({Plot})\n\n");
        text.Append("### Framework versions\n\n");
        foreach (var (name, version) in new Dictionary<string,
            string>(Versions)
        {
            ["The Alignment Handbook for .NET"] = RunInfo.Version,
            [".NET"] = Environment.Version.ToString()
        }.OrderBy(version => version.Key, StringComparer.Ordinal))
            text.Append($"- {name} {version}\n");
        text.Append("\n## Citations\n\n").Append(Citations());
        return text.ToString();
    }

    // What a recipe names for the hub may not be there, or not yet; the folder is.
    private string Place => Folder ?? Name;

    internal static string Shell(string path) => path.Contains(' ') ? $"'{path}'" : path;

    private const string Unknown = "More information needed";

    private void Header(StringBuilder text)
    {
        text.Append("---\n");
        foreach (var (key, value) in (ReadOnlySpan<(string, string?)>)[("license", License), ("license_name", OtherLicense.Name),
            ("license_link", OtherLicense.Link)])
            if (value is not null)
                text.Append($"{key}: {Yaml(value)}\n");
        if (BaseModel is not null && !LocalPaths.Contains(BaseModel))
            text.Append($"base_model: {Yaml(BaseModel)}\n");
        if (Datasets.Except(LocalPaths).ToArray() is { Length: > 0 } published)
            text.Append("datasets:\n").AppendJoin("", published.Select(name => $"- {Yaml(name)}\n"));
        text.Append($"library_name: {(Adapter is null ? "transformers" : "peft")}\npipeline_tag: "
            + $"{(IsReward ? "text-classification" : "text-generation")}\nmodel_name: {Yaml(Name)}\n");
        string[] tags = ["alignment-handbook", "generated_from_trainer", Method];
        text.Append("tags:\n").AppendJoin("", tags.Concat(Adapter?.Tags(LocalPaths.Contains) ?? []).Concat(Tags).Distinct().Select(tag =>
            $"- {Yaml(tag)}\n"));
        text.Append($"model-index:\n- name: {Yaml(Name)}\n  results: []\n---\n\n");
    }

    private string Sentence()
    {
        var origin = BaseModel is null ? "a model trained from scratch"
            : Adapter is null ? $"a fine-tuned version of {Link(BaseModel)}" : $"{Link(BaseModel)}, fine-tuned with an adapter";
        var data = Datasets.Count switch
        {
            0 => "",
            1 => $" on the {Link(Datasets[0])} dataset",
            _ => $" on the {string.Join(", ", Datasets.SkipLast(1).Select(Link))} and {Link(Datasets[^1])} datasets",
        };
        return $"This model is {origin}{data}.";
    }

    private void Results(StringBuilder text)
    {
        if (Evaluation is null || Evaluation.Count == 0)
            return;
        text.Append("It achieves the following results on the evaluation set:\n");
        foreach (var (name, value) in Evaluation.Where(pair => pair.Key.StartsWith("eval_", StringComparison.Ordinal)
            && !CurveComparison.IsClock(pair.Key)))
            text.Append($"- {Title(name)}: {(value.IsCount ? value.ToJson() : Rounded(value.Value))}\n");
        text.Append('\n');
    }

    /// <summary>What it was made from; a base of which nothing more is known is in the first sentence already.</summary>
    private void Origin(StringBuilder text)
    {
        if (Chain.Count == 0 || Chain is [{ How: null }])
            return;
        text.Append("## Where it comes from\n\n| model | made with |\n| --- | --- |\n");
        foreach (var ancestor in Chain)
            text.Append($"| {Link(ancestor.Name)} | {ancestor.How ?? ""} |\n");
        text.Append($"| **{Name}** | {Method} |\n\n");
    }

    private bool IsReward => Method == "reward";

    private void QuickStart(StringBuilder text)
    {
        if (IsReward)
        {
            ScoringStart(text);
            return;
        }
        text.Append("## Quick start\n\n```\n./handbook chat ").Append(Shell(Place)).Append(MergeLine())
            .Append("\n```\n\nor in Python:\n\n```python\n");
        var place = PythonJson.Write(Place);
        text.Append(Adapter is null
            ? $"from transformers import pipeline\n\ngenerator = pipeline(\"text-generation\", model={place})\n"
            : "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer, pipeline\n\n"
            + Adapter.Python(Place, "AutoModelForCausalLM")
            + $"generator = pipeline(\"text-generation\", model=model, tokenizer=AutoTokenizer.from_pretrained({place}))\n");
        text.Append($"""
            question = "What would you tell someone who trains a language model for the first time?"
            print(generator([{"{"}"role": "user", "content": question{"}"}], max_new_tokens=128, return_full_text=False)[0]["generated_text"])
            """.ReplaceLineEndings("\n"));
        text.Append("\n```\n\n");
    }

    private string MergeLine() => Adapter is null ? "" : $"\n./handbook merge {Shell(Place)} --out {Shell(Place + "-merged")}";

    private void ScoringStart(StringBuilder text)
    {
        text.Append("## Quick start\n\n```\n./handbook score ").Append(Shell(Place))
            .Append(" DATA -o scores.jsonl").Append(MergeLine()).Append("\n```\n\nor in Python:\n\n```python\n");
        var place = PythonJson.Write(Place);
        text.Append("import torch\n").Append(Adapter is null ? "" : "from peft import PeftModel\n")
            .Append("from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n")
            .Append($"tokenizer = AutoTokenizer.from_pretrained({place})\n")
            .Append(Adapter?.Python(Place, "AutoModelForSequenceClassification", ", num_labels=1")
                ?? $"model = AutoModelForSequenceClassification.from_pretrained({place})\n");
        text.Append($"""
            turns = [{"{"}"role": "user", "content": "What is two plus two?"{"}"}, {"{"}"role": "assistant", "content": "Four."{"}"}]
            ids = tokenizer.apply_chat_template(turns, return_tensors="pt")
            with torch.no_grad():
                print(model(ids).logits[0, 0].item())
            """.ReplaceLineEndings("\n"));
        text.Append("\n```\n\n");
    }

    private string Procedure() => Method switch
    {
        "sft" => "This model was trained with supervised fine-tuning (SFT).",
        "cpt" => "This model was trained with continued pretraining: next-token prediction on text.",
        "reward" => "This reward model was trained on pairs of answers, with the Bradley–Terry loss: the preferred answer is to score "
        + "higher.",
        _ when Paper is { } paper => $"This model was trained with {Method.ToUpperInvariant()}, introduced in "
            + $"[{paper.Title}]({paper.Url}).",
        _ => $"This model was trained with {Method.ToUpperInvariant()}.",
    };

    private MethodPaper? Paper => MethodDefinition.All.FirstOrDefault(method => method.Name == Method)?.Paper;

    private void HyperparameterList(StringBuilder text)
    {
        var h = Hyperparameters;
        text.Append("### Training hyperparameters\n\nThe following hyperparameters were used during training:\n");
        void Line(string name, object value) => text.Append($"- {name}: {value}\n");
        Line("learning_rate", PythonJson.Number(h.LearningRate));
        Line("train_batch_size", h.TrainBatchSize);
        Line("eval_batch_size", h.EvalBatchSize);
        Line("seed", h.Seed);
        Line("distributed_type", h.DeviceCount > 1 ? "multi-device" : "none");
        Line("num_devices", h.DeviceCount);
        Line("gradient_accumulation_steps", h.GradientAccumulationSteps);
        Line("total_train_batch_size", h.TrainBatchSize * h.DeviceCount * h.GradientAccumulationSteps);
        Line("total_eval_batch_size", h.EvalBatchSize * h.DeviceCount);
        Line("optimizer", h.Optimizer);
        Line("lr_scheduler_type", h.Scheduler);
        if (h.WarmupSteps > 0)
            Line("lr_scheduler_warmup_steps", h.WarmupSteps);
        else if (h.WarmupRatio > 0)
            Line("lr_scheduler_warmup_ratio", PythonJson.Number(h.WarmupRatio));
        if (h.TrainingSteps is { } steps)
            Line("training_steps", steps);
        else if (h.Epochs is { } epochs)
            Line("num_epochs", epochs == Math.Floor(epochs) ? (long)epochs : PythonJson.Number(epochs));
        if (h.MixedPrecision is not null)
            Line("mixed_precision_training", h.MixedPrecision);
        foreach (var (name, value) in h.Others)
            Line(name, value);
        text.Append('\n');
    }

    private static void ResultsTable(StringBuilder text, TrainerState state)
    {
        var rows = state.LogHistory.Where(entry => entry.TryGet("eval_loss", out _)).ToList();
        if (rows.Count == 0)
            return;
        var others = rows.SelectMany(row => row.Select(pair => pair.Key))
            .Where(name => name.StartsWith("eval_", StringComparison.Ordinal) && name is not ("eval_loss" or "eval_samples")
                && !CurveComparison.IsClock(name))
            .Distinct().ToList();
        var table = new List<string[]> { (string[])["Training Loss", "Epoch", "Step", "Validation Loss", .. others.Select(Title)] };
        foreach (var row in rows)
        {
            var step = row.Number("step") ?? 0;
            var loss = state.LogHistory.LastOrDefault(entry => entry.TryGet("loss", out _) && entry.Number("step") <= step)?.Number("loss");
            table.Add([loss is { } value ? Rounded(value) : "No log", Rounded(row.Number("epoch") ?? 0), $"{(long)step}",
                Rounded(row["eval_loss"].Value),
                .. others.Select(name => row.Number(name) is { } other ? Rounded(other) : "")]);
        }
        var padded = TextTable.Padded(table);
        text.Append("### Training results\n\n").Append(Row(padded[0]));
        text.Append('|').AppendJoin("|", padded[0].Select(title => $":{new string('-', title.Length)}:")).Append("|\n");
        text.AppendJoin("", padded.Skip(1).Select(Row)).Append('\n');

        static string Row(string[] cells) => $"| {string.Join(" | ", cells)} |\n";
    }

    private string Citations()
    {
        var method = Paper is not { } paper ? "" : $$"""
            ```bibtex
            @article{{{paper.Key}},
                title = { {{paper.Title}} },
                author = { {{paper.Authors}} },
                year = {{paper.Year}},
                eprint = {arXiv:{{paper.ArXiv}}},
            }
            ```


            """.Replace("{ ", "{", StringComparison.Ordinal).Replace(" }", "}", StringComparison.Ordinal);
        return (method + """
            ```bibtex
            @software{tunstall_alignment_handbook,
                title = {The Alignment Handbook},
                author = {Lewis Tunstall and Edward Beeching and Nathan Lambert and Nazneen Rajani and Shengyi Huang and Kashif Rasul and Alvaro Bartolome and Alexander M. Rush and Thomas Wolf},
                license = {Apache-2.0},
                url = {https://github.com/huggingface/alignment-handbook},
            }
            ```

            """).ReplaceLineEndings("\n");
    }

    // "eval_rewards/chosen" → "Rewards/chosen", "eval_mean_token_accuracy" → "Mean Token Accuracy"
    private static string Title(string name) => string.Join(' ', name["eval_".Length..].Split('_', StringSplitOptions.RemoveEmptyEntries)
        .Select(word => char.ToUpperInvariant(word[0]) + word[1..]));

    private string Link(string name) => name.Contains('/') && HubCache.IsName(name) && !LocalPaths.Contains(name)
        ? $"[{name}](https://huggingface.co/{name})" : name;

    private static string Rounded(double value) => Math.Round(value, 4).ToString("0.0###", CultureInfo.InvariantCulture);

    // A plain word stays as it is; anything YAML could read otherwise is quoted.
    internal static string Yaml(string text) =>
        text.Length > 0 && char.IsAsciiLetter(text[0]) && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '/' or '.')
        && text is not ("true" or "false" or "null" or "yes" or "no" or "on" or "off") ? text : PythonJson.Write(text);
}
