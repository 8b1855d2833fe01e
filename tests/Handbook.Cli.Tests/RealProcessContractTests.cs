using System.Runtime.InteropServices;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Cli.Tests;

/// <summary>Real processes, begun by the launcher, end with the weights of one that has the same rows in a step: every method, for all
/// weights, adapters, and adapters over codes, under every stage.</summary>
public sealed class RealProcessContractTests : IDisposable
{
    private const int Rows = 12;        // of a step: a share for two, three and four processes

    // AdamW with a large ε, so that a gradient that is as small as its rounding makes no whole step.
    private const string Common = """
        model_name_or_path: model
        learning_rate: 3.0e-03
        adam_epsilon: 1.0e-03
        lr_scheduler_type: constant
        max_steps: 3
        logging_steps: 1
        save_strategy: "no"
        report_to: none
        seed: 17
        """;

    private const string Adapter = "use_peft: true\nlora_r: 4\nlora_target_modules: all-linear\n";

    private static readonly Dictionary<string, string> s_methods = new()
    {
        ["sft"] = "dataset_name: chats\nassistant_only_loss: true\npacking: true\nmax_length: 64",
        ["cpt"] = "dataset_name: texts",
        ["dpo"] = "dataset_name: pairs\nbeta: 0.1",
        ["orpo"] = "dataset_name: pairs\nbeta: 0.1",
        ["cpo"] = "dataset_name: pairs\nloss_type: simpo",
        ["kto"] = "dataset_name: rated",
        ["bco"] = "dataset_name: rated",
        ["reward"] = "dataset_name: pairs",
        ["grpo"] = "dataset_name: prompts\nnum_generations: 4\nmax_completion_length: 6\nreward_funcs: regex\nreward_pattern: \"o\"\n"
            + "learning_rate: 1.0e-05\nbeta: 0.02",       // so small that rounding changes no answer
    };

    private static readonly Dictionary<string, string> s_kinds = new()
    {
        ["full"] = "",
        ["lora"] = Adapter,
        ["qlora"] = Adapter + "load_in_4bit: true\nadapter_dtype: float32\n",       // in bfloat16 every step rounds to one part in 256
    };

    private readonly HandbookProcess _handbook = new();

    public RealProcessContractTests()
    {
        SmallModel.Make(_handbook);
        Write("chats", i => $$"""{"messages": [{{User(i)}}, {{Assistant(Words(i))}}]}""");
        Write("texts", i => $$"""{"text": "one two {{i}} {{Words(i)}}"}""");
        Write("pairs", i => $$"""{"prompt": [{{User(i)}}], "chosen": [{{Assistant(Words(i))}}], "rejected": [{{Assistant($"the moon {i}")}}]}""");
        // the first half is good and the second bad: some processes have rows of one class alone
        Write("rated", i => $$"""{"prompt": [{{User(i)}}], "completion": [{{Assistant(Words(i))}}], "label": {{(i % 12 < 6 ? "true" : "false")}}}""");
        Write("prompts", i => $$"""{"prompt": [{{User(i)}}]}""");

        void Write(string name, Func<int, string> row) =>
            _handbook.Write($"{name}/train.jsonl", string.Concat(Enumerable.Range(0, 40).Select(i => row(i) + "\n")));
        static string Words(int i) => string.Join(' ', Enumerable.Repeat("the sun", 1 + i * 7 % 5));
        static string User(int i) => $$"""{"role": "user", "content": "one two {{i}}"}""";
        static string Assistant(string text) => $$"""{"role": "assistant", "content": "{{text}}"}""";
    }

    public void Dispose() => _handbook.Dispose();

    public static MatrixTheoryData<string, string> Cases() => new(s_methods.Keys, s_kinds.Keys);

    [Theory, Trait("speed", "slow"), MemberData(nameof(Cases))]
    public void Number_2_every_stage_gives_the_weights_of_one_process(string method, string kind)
    {
        var expected = One(method, kind);
        var first = s_methods.Keys.ToList().IndexOf(method) + s_kinds.Keys.ToList().IndexOf(kind);
        for (var stage = 0; stage < 4; stage++)     // over all cases each stage meets each number of processes
            RequireNear(expected, method, kind, stage, processes: 2 + (first + stage) % 3);
    }

    [Theory]
    [InlineData("dpo", "lora", 2, 2)]
    public void Number_2_some_stages_give_the_weights_of_one_process(string method, string kind, int stage, int processes) =>
        RequireNear(One(method, kind), method, kind, stage, processes);

    private Dictionary<string, float[]> One(string method, string kind)
    {
        _handbook.Write("recipe.yaml", Recipe(method, kind));
        SmallModel.Succeed(_handbook.Run([method, "recipe.yaml", .. Keys(method, 1), "--output_dir=one"]));
        return Weights("one", kind);
    }

    private static string Recipe(string method, string kind)
    {
        var own = s_methods[method].Split('\n');
        var common = Common.Split('\n').Where(line => !own.Any(key => key.Split(':')[0] == line.Split(':')[0]));
        return $"{string.Join('\n', common)}\n{s_methods[method]}\n{s_kinds[kind]}";
    }

    private static string[] Keys(string method, int processes) =>
        [$"--per_device_train_batch_size={(method == "grpo" ? 4 : 1)}", $"--gradient_accumulation_steps={Rows / processes}"];

    private void RequireNear(Dictionary<string, float[]> expected, string method, string kind, int stage, int processes)
    {
        var output = $"stage-{stage}-of-{processes}";
        SmallModel.Succeed(_handbook.Run(["launch", "--nproc-per-node", $"{processes}", method, "recipe.yaml", .. Keys(method, processes),
            $"--zero_stage={stage}", $"--output_dir={output}"]));
        var found = Weights(output, kind);
        Assert.Equal(expected.Keys.Order(StringComparer.Ordinal), found.Keys.Order(StringComparer.Ordinal));
        foreach (var (name, values) in expected)
        {
            var (largest, apart) = (values.Max(Math.Abs), values.Zip(found[name]).Max(pair => Math.Abs(pair.First - pair.Second)));
            Assert.True(apart <= 2e-5 * Math.Max(largest, 0.05),        // float32, summed in another order
                $"{method}, {kind}, stage {stage}, {processes} processes: {name} is off by {apart}, the largest is {largest}");
        }
    }

    private Dictionary<string, float[]> Weights(string run, string kind)
    {
        using var files = WeightFiles.Open(Path.Combine(_handbook.Folder, run, kind == "full" ? "model.safetensors" : "adapter_model.safetensors"));
        return files.Names.ToDictionary(name => name, name =>
        {
            Assert.Equal(DType.Float32, files.Info(name).DType);
            return MemoryMarshal.Cast<byte, float>(files.Bytes(name)).ToArray();
        });
    }
}
