using System.Text.Json;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Text.Templates;
using Handbook.Training.Methods;

namespace Handbook.Tests.Recipes;

/// <summary>The chat templates of the recipes render what the published models were trained on.</summary>
public sealed class RecipeTemplatesTests
{
    private const string Turns =
        """[{"role":"system","content":"You are a happy chatbot"},{"role":"user","content":"Hello!"},{"role":"assistant","content":"Bonjour!"}]""";
    private const string Question = """[{"role":"system","content":"You are a happy chatbot"},{"role":"user","content":"Hello!"}]""";
    private const string NoSystem = """[{"role":"user","content":"Hello!"},{"role":"assistant","content":"Bonjour!"}]""";
    private const string Tool = """[{"role":"tool","content":"42"},{"role":"user","content":"Hello!"}]""";

    [Theory]
    [InlineData("zephyr-7b-beta/sft/config_full", Turns, false,
        "<|system|>\nYou are a happy chatbot</s>\n<|user|>\nHello!</s>\n<|assistant|>\nBonjour!</s>\n")]
    [InlineData("zephyr-7b-beta/sft/config_full", Question, true,
        "<|system|>\nYou are a happy chatbot</s>\n<|user|>\nHello!</s>\n<|assistant|>\n")]
    [InlineData("zephyr-7b-beta/sft/config_full", Tool, false, "<|user|>\nHello!</s>\n")]
    [InlineData("gpt2-nl/sft/config_full", Question, true,
        "<|system|>\nYou are a happy chatbot</s>\n<|user|>\nHello!</s>\n<|assistant|>\n")]
    [InlineData("starchat2-15b/sft/config_v0.1", Turns, false,
        "<|im_start|>system\nYou are a happy "
        + "chatbot<|im_end|>\n<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\nBonjour!<|im_end|>\n")]
    [InlineData("smollm/sft/config", Question, true,
        "<|im_start|>system\nYou are a happy chatbot<|im_end|>\n<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n")]
    [InlineData("smollm2/sft/config", NoSystem, false,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        + "Face<|im_end|>\n<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\nBonjour!<|im_end|>\n")]
    [InlineData("smollm2/sft/config_smol", Question, true,
        "<|im_start|>system\nYou are a happy chatbot<|im_end|>\n<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n")]
    public void A_recipe_s_template_renders_the_published_text(string name, string messages, bool prompt, string expected)
    {
        var file = new FileInfo(Path.Combine(SharedFiles.Repository, $"recipes/{name}.yaml"));
        Assert.True(Recipe.Load(file, [], TrainingMethod.Sft).TryGet(out var recipe, out var diagnostics), diagnostics.ToString());
        using var json = JsonDocument.Parse(messages);
        var rendered = ChatTemplate.Parse(recipe.Data.ChatTemplate!, name).Render(new Conversation { Messages = json.RootElement },
            new RenderOptions { AddGenerationPrompt = prompt, SpecialTokens = new Dictionary<string, string> { ["eos_token"] = "</s>" } });
        Assert.Equal(expected, rendered.Text);
    }
}
