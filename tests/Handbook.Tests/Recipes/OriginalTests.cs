using System.Text.Json;
using Handbook.Base;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Training.Methods;
using Handbook.Training.Plans;

namespace Handbook.Tests.Recipes;

/// <summary>The published handbook's own tests, by their numbers in the specification, with local stand-ins of the same sizes in the place of
/// what they download. Number 14, decontamination, is <c>DecontaminatedDataTests</c>' first.</summary>
public sealed class OriginalTests : IDisposable
{
    private const string Chat = """
        {"role":"system","content":"You are a happy chatbot"},{"role":"user","content":"Hello!"},{"role":"assistant","content":"Bonjour!"},{"role":"user","content":"How are you?"}
        """;

    private const string Prompt = "<|system|>\nYou are a happy chatbot</s>\n<|user|>\nHello!</s>\n<|assistant|>\nBonjour!</s>\n<|user|>\nHow are you?</s>\n";

    private const string Well = "<|assistant|>\nI am doing well, thanks!</s>\n", NotSoGood = "<|assistant|>\nNot so good tbh</s>\n";

    private readonly TemporaryFolder _folder = new();

    public OriginalTests()
    {
        foreach (var name in (string[])["testing_alpaca_small", "testing_self_instruct_small", "testing_codealpaca_small"])
            foreach (var split in (string[])["train", "test"])
                Write($"{name}/{split}.jsonl", string.Concat(Enumerable.Range(0, 100).Select(i =>
                    JsonSerializer.Serialize(new { prompt = $"{name} {split} asks {i}", completion = $"{name} {split} answers {i}" }) + "\n")));
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Number_1_a_recipe_is_read() => Assert.Equal("mistralai/Mistral-7B-v0.1", Sft().Model.ModelNameOrPath);

    [Fact]
    public void Number_2_the_command_line_goes_before_the_file()
    {
        var recipe = Sft("--model_name_or_path=test", "--use_peft=true", "--lora_r=16", "--lora_dropout=0.5");
        Assert.Equal(("test", true, 16, 0.5), (recipe.Model.ModelNameOrPath, recipe.Adapter.UsePeft, recipe.Adapter.LoraR, recipe.Adapter.LoraDropout));
    }

    [Theory]
    [InlineData(3, "0.5", "0.3", "0.2", 100, 300)]
    [InlineData(4, "5.0e-1", "3.0e-1", "2.0e-1", 100, 300)]        // as a plain map in the original
    [InlineData(5, "1.0", "1.0", "1.0", 300, 300)]
    [InlineData(6, "0.7", "0.4", null, 110, 200)]
    public void Numbers_3_to_6_fractions_of_sets_are_joined(int number, string a, string b, string? c, int train, int test)
    {
        using var data = Load(Mixer([a, b, c], "[train, test]"));
        Assert.True((train, test) == (data.Train.Count, data.Evaluation!.Count), $"number {number}");
    }

    [Fact]
    public void Number_7_a_negative_fraction_is_refused() => Assert.Contains("dataset fractions cannot be negative",
        Assert.ThrowsAny<Exception>(() => Load(Mixer(["0.7", "-0.3", null], "[train, test]"))).Message);

    [Fact]
    public void Number_8_without_a_train_split_there_is_nothing_to_train_on()
    {
        var recipe = Mixer(["1.0", null, null], "[test]");
        Assert.Contains("dataset_splits", Assert.ThrowsAny<Exception>(() => Load(recipe)).Message);
        using var data = Load(recipe.Replace("[test]", "[train, test]", StringComparison.Ordinal));
        Assert.Equal(100, data.Evaluation!.Count);
    }

    [Theory]
    [InlineData("{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}",
        "")]                                        // as Mistral's first models: no turn but the user's and the answer
    [InlineData("chatml", "<|im_start|>system\n<|im_end|>\n")]
    public void Number_9_an_empty_system_turn_is_put_in_front_where_the_template_has_systems(string template, string system)
    {
        var parsed = ChatTemplate.Parse(template == "chatml" ? ChatTemplate.ChatMl : template, "t");
        var tokens = new Dictionary<string, string> { ["bos_token"] = "<s>", ["eos_token"] = "</s>" };
        using var turn = JsonDocument.Parse("""[{"role": "user", "content": "Hello"}]""");
        var conversation = new Conversation { Messages = turn.RootElement };
        var with = parsed.Render(conversation, new() { InsertEmptySystemTurn = true, SpecialTokens = tokens }).Text;
        if (system.Length == 0)
            Assert.Equal(parsed.Render(conversation, new() { SpecialTokens = tokens }).Text, with);
        else
            Assert.StartsWith(system + "<|im_start|>user\nHello", with);
    }

    [Fact]
    public void Number_10_fine_tuning_renders_the_whole_conversation() => Assert.Equal(Prompt + Well,
        Rendered(TrainingMethod.Sft, $$"""{"messages": [{{Chat}}, {"role": "assistant", "content": "I am doing well, thanks!"}], "prompt": "Hello!"}"""));

    [Fact]
    public void Number_11_generation_asks_for_the_answer()
    {
        using var turns = JsonDocument.Parse($"[{Chat}]");
        Assert.Equal(Prompt + "<|assistant|>\n", ChatTemplate.Parse(ChatTemplate.Zephyr, "zephyr").Render(new() { Messages = turns.RootElement },
            new() { AddGenerationPrompt = true, SpecialTokens = new Dictionary<string, string> { ["eos_token"] = "</s>" } }).Text);
    }

    [Theory]
    [InlineData(12, TrainingMethod.Reward)]
    [InlineData(13, TrainingMethod.Dpo)]
    public void Numbers_12_and_13_a_pair_is_rendered_as_a_prompt_and_two_answers(int number, TrainingMethod method)
    {
        var rendered = Rendered(method, $$"""
            {"chosen": [{{Chat}}, {"role": "assistant", "content": "I am doing well, thanks!"}], "rejected": [{{Chat}}, {"role": "assistant", "content": "Not so good tbh"}], "prompt": "Hello!"}
            """);
        string[] parts = rendered.Split(" | ");
        if (method == TrainingMethod.Reward)        // two whole conversations
            Assert.Equal((12, Prompt + Well, Prompt + NotSoGood), (number, parts[0] + parts[1], parts[0] + parts[2]));
        else                                        // the end token behind an answer is the trainer's
            Assert.Equal((13, Prompt, Well + "</s>", NotSoGood + "</s>"), (number, parts[0], parts[1], parts[2]));
    }

    [Fact]
    public void Numbers_15_to_17_weights_below_an_adapter_are_codes_where_the_keys_say_so()
    {
        var four = Sft("--use_peft=true", "--load_in_4bit=true").Quantisation;
        Assert.Equal((true, false, false, "nf4"), (four.LoadIn4Bit, four.LoadIn8Bit, four.UseBnbNestedQuant,
            Base.Keys.RecipeNames.Of(four.Bnb4BitQuantType)));
        var eight = Sft("--use_peft=true", "--load_in_8bit=true").Quantisation;
        Assert.Equal((false, true), (eight.LoadIn4Bit, eight.LoadIn8Bit));
        var none = Sft().Quantisation;
        Assert.Equal((false, false), (none.LoadIn4Bit, none.LoadIn8Bit));
    }

    [Theory]
    [InlineData(18, "left", "d e")]
    [InlineData(19, "right", "a b")]
    public void Numbers_18_and_19_the_side_of_truncation_reaches_the_rows(int number, string side, string kept)
    {
        Write("long.jsonl", """{"text": "a b c d e"}""" + "\n");
        using var data = Load($"model_name_or_path: model\ndataset_name: long.jsonl\nbf16: false\nmax_length: 3\ntruncation_side: {side}\neos_token: null\n",
            TrainingMethod.Cpt);
        Assert.True(kept == Text(data.Train.Read(0).Segments[0]).Replace("</s>", "").Trim(), $"number {number}: {Text(data.Train.Read(0).Segments[0])}");
    }

    [Fact]
    public void Number_20_the_template_without_a_key_is_the_built_in_one() =>
        Assert.Equal(ChatTemplate.Zephyr, RowPlan.LoadTokenizer(Recipe(Mixer(["1.0", null, null], "[train, test]"))).ChatTemplate);

    [Fact]
    public void Number_21_a_template_of_the_tokenizer_stays()
    {
        const string own = "{% for message in messages %}{{ message.content }}{% endfor %}";
        Assert.Equal(own, RowPlan.LoadTokenizer(Recipe(Mixer(["1.0", null, null], "[train, test]"), template: own)).ChatTemplate);
    }

    [Fact]
    public void Number_22_the_template_of_the_recipe_is_kept_as_it_is_written()
    {
        const string chatMl = "{% for message in messages %}\\n{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>'}}{% endfor %}";
        Assert.Equal(chatMl, RowPlan.LoadTokenizer(Recipe(Mixer(["1.0", null, null], "[train, test]") + $"chat_template: >-\n  {chatMl}\n")).ChatTemplate);
    }

    [Fact]
    public void Numbers_23_and_24_an_adapter_has_the_keys_of_the_recipe()
    {
        var adapter = Sft("--use_peft=true", "--lora_r=42", "--lora_alpha=0.66", "--lora_dropout=0.99").Adapter;
        Assert.Equal((true, 42, 0.66, 0.99), (adapter.UsePeft, adapter.LoraR, adapter.LoraAlpha, adapter.LoraDropout));
        Assert.False(Sft().Adapter.UsePeft);
    }

    [Fact]
    public void Number_25_a_model_that_is_nowhere_is_said_to_be() => Assert.Contains("nonexistent/model",
        Assert.Throws<InputException>(() => Handbook.Models.ModelFolder.Find("nonexistent/model")).Message);

    [Theory]
    [InlineData(26, "0.5", "0.3", "0.2", "0.1", 90, 10)]
    [InlineData(27, "0.5", "0.3", "0.2", null, 100, 0)]
    [InlineData(28, "1.0", "1.0", "1.0", "0.1", 270, 30)]
    [InlineData(29, "0.7", "0.4", null, "0.1", 99, 11)]
    public void Numbers_26_to_29_weighted_sets_are_split_once_they_are_mixed(int number, string a, string b, string? c, string? test, int train, int heldOut)
    {
        using var data = Load("model_name_or_path: model\nbf16: false\ndataset_mixture:\n  datasets:\n" + string.Concat(Sets([a, b, c]).Select(set =>
            $"  - id: {set.Name}\n    config: default\n    split: train\n    columns: [prompt, completion]\n    weight: {set.Weight}\n"))
            + "  seed: 42\n" + (test is null ? "" : $"  test_split_size: {test}\neval_strategy: epoch\n"));
        Assert.True((train, heldOut) == (data.Train.Count, data.Evaluation?.Count ?? 0), $"number {number}");
    }

    [Theory]
    [InlineData("dataset_mixture: invalid", "dataset_mixture", "is \"invalid\", not a map")]
    [InlineData("dataset_mixture: {datasets: invalid}", "datasets", "is \"invalid\", not a list")]
    public void Number_30_a_mixture_that_is_none_is_refused(string line, string key, string said)
    {
        var text = RecipeFile.Said($"model_name_or_path: model\nbf16: false\n{line}\n");
        Assert.Contains(key, text);
        Assert.Contains(said, text);
    }

    [Fact]
    public void Number_31_a_set_alone_has_its_own_splits()
    {
        using var data = Load("model_name_or_path: model\nbf16: false\ndataset_name: testing_alpaca_small\neval_strategy: epoch\n");
        Assert.Equal((100, 100), (data.Train.Count, data.Evaluation!.Count));
    }

    private static Recipe Sft(params string[] words)
    {
        Assert.True(Handbook.Recipes.Recipe.Load(new(Path.Combine(SharedFiles.Repository, "tests/golden/recipes/a/zephyr-7b-beta/sft/config_full.yaml")),
            words, TrainingMethod.Sft).TryGet(out var recipe, out var diagnostics), diagnostics.ToString());
        return recipe;
    }

    private static string Mixer(string?[] fractions, string splits) => "model_name_or_path: model\nbf16: false\npacking: false\neval_strategy: epoch\ndataset_mixer:\n"
        + string.Concat(Sets(fractions).Select(set => $"  {set.Name}: {set.Weight}\n")) + $"dataset_splits: {splits}\n";

    private static IEnumerable<(string Name, string Weight)> Sets(string?[] weights) =>
        new[] { "testing_alpaca_small", "testing_self_instruct_small", "testing_codealpaca_small" }.Zip(weights)
            .Where(set => set.Second is not null).Select(set => (set.First, set.Second!));

    private string Rendered(TrainingMethod method, string row)
    {
        Write("chat.jsonl", row + "\n");
        using var data = Load("model_name_or_path: model\nbf16: false\npacking: false\nmax_length: 256\ndataset_mixer:\n  chat.jsonl: 1.0\ndataset_splits: [train]\n"
            + "eval_strategy: \"no\"\n", method);
        return string.Join(" | ", data.Train.Read(0).Segments.Select(Text));
    }

    private string Text(TokenSegment segment)
    {
        var tokenizer = Tokenizer.Load(_folder["model"]);
        return string.Concat(segment.Ids.ToArray().Where(id => id != 1).Select(id => tokenizer.IdToToken(id)!.Replace("\u2581", " ").Replace("<0x0A>", "\n")))
            .TrimStart(' ').Replace("</s> ", "</s>");           // before the text behind a special token this tokenizer puts a blank
    }

    private Recipe Recipe(string text, TrainingMethod method = TrainingMethod.Sft, string? template = null)
    {
        var model = _folder["model"];
        if (!Directory.Exists(model))
        {
            Directory.CreateDirectory(model);
            foreach (var file in Directory.GetFiles(SharedFiles.Need("tokenizers/mistral-v0.1")).Where(file => !file.EndsWith(".jsonl", StringComparison.Ordinal)))
                File.Copy(file, Path.Combine(model, Path.GetFileName(file)));
            File.WriteAllText(Path.Combine(model, "tokenizer_config.json"), """{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}""");
            if (template is not null)
                File.WriteAllText(Path.Combine(model, "chat_template.jinja"), template);
        }
        File.WriteAllText(_folder["r.yaml"], text.Replace("model_name_or_path: model", $"model_name_or_path: {model}", StringComparison.Ordinal)
            .Replace("testing_", _folder["testing_"], StringComparison.Ordinal).Replace("chat.jsonl", _folder["chat.jsonl"], StringComparison.Ordinal)
            .Replace("long.jsonl", _folder["long.jsonl"], StringComparison.Ordinal));
        var loaded = Handbook.Recipes.Recipe.Load(new(_folder["r.yaml"]), [], method);
        return loaded.TryGet(out var recipe, out var diagnostics) ? recipe : throw new InputException(diagnostics.ToString());
    }

    private TrainingData Load(string text, TrainingMethod method = TrainingMethod.Sft)
    {
        var recipe = Recipe(text, method);
        return TrainingData.Load(RowPlan.Options(recipe, RowPlan.LoadTokenizer(recipe)) with { Cache = new(_folder["cache"]) });
    }

    private void Write(string name, string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_folder[name])!);
        File.WriteAllText(_folder[name], text);
    }
}
