namespace Handbook.Cli.Tests;

/// <summary>A model with a chat template that has learned nothing, made by the commands that users have.</summary>
internal static class SmallModel
{
    public const string Template = """
        {% for message in messages %}
        {{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}
        {% endfor %}
        {% if add_generation_prompt %}
        {{ '<|im_start|>assistant\n' }}
        {%- endif %}
        """;

    /// <summary>Makes the folder <paramref name="name"/> below the working folder.</summary>
    public static void Make(HandbookProcess handbook, string name = "model")
    {
        handbook.Write("chat.jinja", Template);
        handbook.Write("corpus.txt",
            string.Join('\n', Enumerable.Range(0, 50).Select(i => $"one two three four {i}, the sun and the moon")));
        // Large weights, so that even an untaught model is sure of what it says.
        handbook.Write("config.json",
            """{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.4, "tie_word_embeddings": true}""");
        Succeed(handbook.Run("tokenizer", "train", "corpus.txt", "--vocab-size", "300", "--output", "tok", "--eos-token", "<|endoftext|>",
            "--special-token", "<|im_start|>", "--special-token", "<|im_end|>", "--chat-template", "chat.jinja"));
        Succeed(handbook.Run("init", "--config", "config.json", "--tokenizer", "tok", "--output", name, "--seed", "3"));
    }

    public static Outcome Succeed(Outcome outcome)
    {
        Assert.True(outcome.Code == 0, $"exit code {outcome.Code}: {outcome.Error}");
        return outcome;
    }
}
