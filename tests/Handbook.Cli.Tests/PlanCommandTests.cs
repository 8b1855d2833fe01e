using System.Text.Json.Nodes;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary><c>plan</c> tells what a recipe comes to on many processes from a config.json alone.</summary>
public sealed class PlanCommandTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    public void Dispose() => _handbook.Dispose();

    private static string File(string name) => Path.Combine(SharedFiles.Repository, name);

    private JsonObject Plan(string recipe, string config, params string[] words)
    {
        var outcome = _handbook.Run(["plan", File(recipe), "--config", File(config), "--network", "50GB/s", "--json", "plan.json", .. words]);
        Assert.True(outcome.Code == 0, outcome.Error);
        return JsonNode.Parse(System.IO.File.ReadAllText(Path.Combine(_handbook.Folder, "plan.json")))!.AsObject();
    }

    private static JsonObject[] Rows(JsonObject plan) => [.. plan["rows"]!.AsArray().Select(row => row!.AsObject())];

    [Fact] // by hand: 7,241,732,096 weights; what is gathered or added up is cut into 8 parts, of which one's own is not sent
    public void The_bytes_of_a_step_are_the_formulas()
    {
        const double All = 7_241_732_096, Small = 65 * 4096, Table = 32_000 * 4096;
        var plan = Plan("recipes/zephyr-7b-beta/sft/config_full.yaml", "docs/shapes/mistral-7b.json", "--world", "8", "--memory", "80GB", "--rate",
            "10000", "--passes", "1");
        Assert.Equal((long)All, plan["trained_weights"]!.GetValue<long>());
        var sent = Array.ConvertAll(Rows(plan), row => row["sent_bytes"]!.GetValue<double>());

        Near(2 * 4 * All * 7 / 8, sent[0]);                                         // sums: float32 to the part and back
        Near((4 * All + 2 * (All - Small - Table) + 4 * (Small + Table)) * 7 / 8, sent[1]);     // sums to the part; bf16 copies, or masters
        Near(sent[1], sent[2]);                                                     // the same, while the pass goes on
        // layers come for each way, the tables and the head once
        Near((4 * All + 2 * 2 * (All - Small - 2 * Table) + 2 * Table + 4 * (Small + Table)) * 7 / 8, sent[3]);

        var memory = Array.ConvertAll(Rows(plan), row => row["memory"]!.AsObject());
        Near(2 * 4 * All, memory[0]["states"]!.GetValue<double>());
        Near(2 * 4 * All / 8, memory[3]["states"]!.GetValue<double>());
        Near(4 * All, memory[1]["gradients"]!.GetValue<double>());
        Assert.False(Rows(plan)[0]["fits"]!.GetValue<bool>());
        Assert.Single(Rows(plan), row => row["fastest"]!.GetValue<bool>());

        static void Near(double expected, double actual) => Assert.Equal(expected, actual, 0.001 * expected);
    }

    [Fact]
    public void Of_an_adapter_only_its_own_numbers_travel()
    {
        var plan = Plan("recipes/zephyr-7b-beta/sft/config_qlora.yaml", "docs/shapes/mistral-7b.json", "--world", "2,8");
        var trained = plan["trained_weights"]!.GetValue<long>();
        Assert.Equal(41_943_040, trained);              // 16 · Σ (in + out) of seven matrices in 32 layers
        var rows = Rows(plan);
        Assert.Equal(8, rows.Length);
        Assert.Equal(2.0 * 4 * trained * 7 / 8, rows[4]["sent_bytes"]!.GetValue<double>(), 0.01 * trained);
        Assert.InRange(rows[0]["memory"]!["frozen"]!.GetValue<double>(), 0.5 * 7.24e9, 0.7 * 7.24e9);       // nf4
    }

    [Fact]
    public void A_simulation_follows_from_its_seed_and_stragglers_cost_time()
    {
        string[] words = ["--world", "8,64", "--rate", "10000", "--simulate", "--steps", "20"];
        double[] Simulated(params string[] more) => [.. Rows(Plan("recipes/zephyr-7b-beta/sft/config_full.yaml", "docs/shapes/mistral-7b.json",
            [.. words, .. more])).Select(row => row["simulated"]!["mean"]!.GetValue<double>())];

        var even = Simulated("--spread", "0");
        var planned = Rows(Plan("recipes/zephyr-7b-beta/sft/config_full.yaml", "docs/shapes/mistral-7b.json", words));
        for (var i = 0; i < even.Length; i++)
            Assert.Equal(planned[i]["step_seconds"]!.GetValue<double>(), even[i], 1e-9 * even[i]);

        var spread = Simulated("--spread", "0.1");
        Assert.Equal(spread, Simulated("--spread", "0.1"));
        Assert.NotEqual(spread, Simulated("--spread", "0.1", "--seed", "1"));
        for (var i = 0; i < even.Length; i++)
            Assert.True(spread[i] > even[i], "a slow process costs nothing");
        Assert.True(Simulated("--spread", "0", "--link-spread", "0.3")[3] > even[3], "a slow link costs nothing");

        _handbook.Write("times", "1.0\n1.0\n1.0\n4.0\n");
        Assert.True(Simulated("--step-times", "times")[4] > 1.2 * even[4], "what was measured is not drawn from");
    }

    [Theory]
    [InlineData("starchat2-15b/sft/config_v0.1.yaml", "starcoder2-15b.json", "", "--use_peft=true --lora_target_modules=all-linear")]     // no usual targets
    [InlineData("zephyr-141b-A35b/orpo/config_qlora.yaml", "mixtral-8x22b.json", "--use_bnb_nested_quant=false", "--use_bnb_nested_quant=true")]
    public void What_does_not_fit_is_told_with_the_keys_that_make_it_fit(string recipe, string shape, string keys, string advised)
    {
        string[] words = ["plan", File("recipes/" + recipe), "--config", File("docs/shapes/" + shape), "--no-rows", "--device", "h100-80g",
            .. keys.Split(' ', StringSplitOptions.RemoveEmptyEntries)];
        var outcome = _handbook.Run(words);

        Assert.Equal(3, outcome.Code);
        Assert.Contains(advised, outcome.Output);
        Assert.Equal(0, _handbook.Run([.. words[..7], .. advised.Split(' ')]).Code);
    }

    [Fact]
    public void Memory_that_is_named_holds_the_program_too()
    {
        var memory = Rows(Plan("recipes/zephyr-7b-beta/sft/config_full.yaml", "docs/shapes/mistral-7b.json", ["--memory", "800GB"]))[0]["memory"]!;
        Assert.Equal(300L << 20, memory["program"]!.GetValue<long>());
    }

    [Fact]
    public void The_tables_of_the_document_are_what_its_commands_say()
    {
        var lines = System.IO.File.ReadAllLines(File("docs/scale.md"));
        var seen = 0;
        for (var at = 0; at < lines.Length; at++)
            if (lines[at].StartsWith("$ ./handbook ", StringComparison.Ordinal))
            {
                string[] words = [.. lines[at]["$ ./handbook ".Length..].Split(' ').Select(word =>
                    word.StartsWith("docs/", StringComparison.Ordinal) || word.StartsWith("recipes/", StringComparison.Ordinal) ? File(word) : word)];
                var outcome = _handbook.Run(words);
                Assert.True(outcome.Code == (outcome.Output.Contains("it does not fit") ? 3 : 0), outcome.Error);
                Assert.Equal(string.Join('\n', lines.Skip(at + 1).TakeWhile(line => line != "```")),
                    outcome.Output.Replace(SharedFiles.Repository + Path.DirectorySeparatorChar, "").TrimEnd('\n'));
                seen++;
            }
        Assert.True(seen >= 8, "the document has hardly any commands");
    }

    [Theory]
    [InlineData("--network is \"fast\", but must be a number greater than 0 with its unit", "--network", "fast")]
    [InlineData("--latency is \"20\"", "--latency", "20")]
    [InlineData("--memory is \"80 apples\"", "--memory", "80 apples")]
    [InlineData("--world has \"0\"", "--world", "0")]
    [InlineData("--simulate without --rate", "--simulate")]
    [InlineData("--rate is -1", "--rate", "-1")]
    [InlineData("--stalls is \"often\"", "--stalls", "often", "--simulate", "--rate", "1")]
    [InlineData("context_parallel_size is 2, but 1 process is asked about", "--context_parallel_size=2", "--world", "4,1")]
    [InlineData("none.txt does not exist", "--step-times", "none.txt", "--simulate", "--rate", "1")]
    public void What_cannot_be_planned_is_said(string message, params string[] words)
    {
        List<string> all = ["plan", File("recipes/zephyr-7b-beta/sft/config_full.yaml"), "--config", File("docs/shapes/mistral-7b.json"), .. words];
        if (!words.Contains("--world"))
            all.AddRange("--world", "8");
        if (!words.Contains("--network"))
            all.AddRange("--network", "1GB/s");
        var outcome = _handbook.Run([.. all]);
        Assert.Equal(2, outcome.Code);
        Assert.Contains(message, outcome.Error);
        Assert.Contains("  fix: ", outcome.Error);
    }

    [Theory]
    [InlineData("recipes/zephyr-7b-beta/sft/config_full.yaml", "t4-16g", "--use_peft=true --load_in_4bit=true")]
    [InlineData("recipes/zephyr-7b-beta/dpo/config_full.yaml", "a100-40g", "--use_peft=true")]
    public void What_does_not_fit_fits_with_the_keys_that_are_listed(string recipe, string device, string keys)
    {
        string[] words = ["plan", File(recipe), "--config", File("docs/shapes/mistral-7b.json"), "--device", device, "--json", "plan.json"];
        var outcome = _handbook.Run(words);
        Assert.Equal(3, outcome.Code);
        var plan = JsonNode.Parse(System.IO.File.ReadAllText(Path.Combine(_handbook.Folder, "plan.json")))!.AsObject();
        var advice = plan["advice"]!.AsArray();
        Assert.Contains(keys, advice.Select(one => string.Join(' ', one!["overrides"]!.AsArray())));
        foreach (var one in advice)
        {
            outcome = _handbook.Run([.. words, .. one!["overrides"]!.AsArray().Select(word => word!.GetValue<string>())]);
            Assert.True(outcome.Code == 0, outcome.Output + outcome.Error);
        }
    }

    [Fact]
    public void A_device_brings_its_memory_its_speed_and_its_link()
    {
        string[] words = ["plan", File("recipes/zephyr-7b-beta/sft/config_full.yaml"), "--config", File("docs/shapes/mistral-7b.json"), "--world", "8"];
        var outcome = _handbook.Run(words);
        Assert.Equal(2, outcome.Code);
        Assert.Contains("nothing says how fast they exchange", outcome.Error);
        outcome = _handbook.Run([.. words, "--device", "h100"]);
        Assert.Equal(2, outcome.Code);
        Assert.Contains("h100-80g", outcome.Error);
        outcome = _handbook.Run([.. words, "--device", "h100-80g"]);
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.Contains("40 % of the 989 Tflop/s", outcome.Output);
        Assert.Contains("fastest", outcome.Output);
        Assert.DoesNotContain("looked for", outcome.Error);
    }

    [Fact]
    public void What_says_the_speed_a_second_time_is_refused_and_a_config_is_offered_for_a_model_that_is_not_here()
    {
        string[] words = ["plan", File("recipes/zephyr-7b-beta/sft/config_full.yaml"), "--device", "h100-80g"];
        var outcome = _handbook.Run([.. words, "--config", File("docs/shapes/mistral-7b.json"), "--calibrate"]);
        Assert.Equal(2, outcome.Code);
        Assert.StartsWith("error: --calibrate beside --device\n", outcome.Error);
        outcome = _handbook.Run([.. words, "--model_name_or_path=owner/none"]);
        Assert.Equal(2, outcome.Code);
        Assert.Contains("; or plan from a config.json of the same shape: --config FILE", outcome.Error);
    }

    [Fact]
    public void A_quantised_model_is_planned_from_the_one_that_it_was_made_from()
    {
        _handbook.Write("config.json", System.IO.File.ReadAllText(File("docs/shapes/mistral-7b.json"))
            .Replace("\"vocab_size\"", "\"quantization_config\": {\"quant_method\": \"bitsandbytes\"},\n  \"vocab_size\""));
        var outcome = _handbook.Run("plan", File("recipes/zephyr-7b-beta/sft/config_qlora.yaml"), "--config", "config.json", "--world", "8",
            "--network", "1GB/s");
        Assert.Equal(2, outcome.Code);
        Assert.Contains("only its files say how large its codes are", outcome.Error);
    }
}
