namespace Handbook.Cli.Tests.Mistakes;

/// <summary>Adapters: their keys, their folders, the models that they belong to.</summary>
internal static class AdapterMistakes
{
    private const string Lora = "use_peft: true\nlora_r: 4\nlora_target_modules: [q_proj, v_proj]";

    public static IReadOnlyList<Mistake> All { get; } =
    [
        Keys("a rank of nothing", "use_peft: true\nlora_r: 0", "use_peft: true\nlora_r: 8"),
        Keys("dropout of everything", "use_peft: true\nlora_dropout: 1", "use_peft: true\nlora_dropout: 0.1"),
        Keys("layers that the model does not have", "use_peft: true\nlora_target_modules: [query, value]", Lora),
        Keys("an expression that is none", "use_peft: true\nlora_target_modules: '.*(q_proj'",
            "use_peft: true\nlora_target_modules: '.*q_proj'"),
        Keys("all layers left out", "use_peft: true\nlora_target_modules: [q_proj]\nexclude_modules: [q_proj]",
            "use_peft: true\nlora_target_modules: [q_proj]"),
        Keys("a layer beyond the last", "use_peft: true\nlayers_to_transform: [7]", "use_peft: true\nlayers_to_transform: [0]"),
        Keys("modules to save that are not there", "use_peft: true\nlora_modules_to_save: [embedding]",
            "use_peft: true\nlora_modules_to_save: [embed_tokens]"),
        Keys("a way to begin that is none", "use_peft: true\ninit_lora_weights: svd",
            "use_peft: true\ninit_lora_weights: pissa\nlora_r: 4"),
        Keys("a rank above that of the weights", "use_peft: true\ninit_lora_weights: pissa",
            "use_peft: true\ninit_lora_weights: pissa\nlora_r: 4"),
        Keys("ways that exclude each other", "use_peft: true\nuse_dora: true\ninit_lora_weights: pissa", "use_peft: true\nuse_dora: true"),
        Keys("an adapter without use_peft", "adapter_name_or_path: adapter", "use_peft: true"),
        Keys("an adapter that is nowhere", "use_peft: true\nadapter_name_or_path: adapter", "use_peft: true"),
        Keys("ids of tokens that do not exist", "use_peft: true\ntrainable_token_indices: [9999]",
            "use_peft: true\ntrainable_token_indices: [5]"),
        Spoilt("an adapter without its config", run => run.Delete("adapter/adapter_config.json")),
        Spoilt("an adapter without its weights", run => run.Delete("adapter/adapter_model.safetensors")),
        Spoilt("an adapter of another rank", run => run.Replace("adapter/adapter_config.json", "\"r\": 4",
            "\"r\": 8")) with { IsQuick = true },
        Spoilt("an adapter of another kind", run => run.Replace("adapter/adapter_config.json", "\"LORA\"", "\"PREFIX_TUNING\"")),
        Spoilt("an adapter that is cut", run => run.Bytes("adapter/adapter_model.safetensors", "cut to 300 bytes", bytes => bytes[..300])),
        Spoilt("an adapter of another model", run => run.Bytes("model/model.safetensors", "its last bit is another", bytes =>
        {
            bytes[^2] ^= 0x01;
            return bytes;
        })),
        new("an adapter in the place of a model, whose base is nowhere", run =>
        {
            Train(run);
            run.Replace("adapter/adapter_config.json", "\"base_model_name_or_path\": \"model\"",
                "\"base_model_name_or_path\": \"was/here\"");
            run.Set("model_name_or_path", "model_name_or_path: adapter");
        }, run =>
        {
            run.Replace("adapter/adapter_config.json", "\"base_model_name_or_path\": \"was/here\"",
                "\"base_model_name_or_path\": \"model\"");
            run.Add("use_peft: true");
        }),
    ];

    private static Mistake Keys(string title, string wrong, string right) => new(title, run => run.Add(wrong), run =>
    {
        run.Remove([.. wrong.Split('\n').Select(line => line.Split(':')[0])]);
        run.Add(right);
    });

    /// <summary>An adapter that a run goes on with, spoilt.</summary>
    private static Mistake Spoilt(string title, Action<MistakeFolder> spoil) => new(title, run =>
    {
        Train(run);
        spoil(run);
        run.Add("use_peft: true\nadapter_name_or_path: adapter");
    }, run => run.Remove("adapter_name_or_path"));

    private static void Train(MistakeFolder run) => run.Succeed("sft", "r.yaml", "--use_peft", "--lora_r=4",
        "--lora_target_modules=q_proj,v_proj",
        "--max_steps=1", "--save_strategy=no", "--output_dir=adapter");
}
