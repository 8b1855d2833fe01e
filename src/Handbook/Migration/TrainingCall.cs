using Handbook.Recipes;
using Handbook.Training.Methods;

namespace Handbook.Migration;

/// <summary>Whose program a command starts.</summary>
internal enum Trainer
{
    Trl,
    Axolotl,
    LlamaFactory,
}

/// <summary>A command of a script that starts a training.</summary>
/// <param name="Method">What it trains; null where its settings tell.</param>
/// <param name="Before">The words of the launcher.</param>
/// <param name="Behind">The words behind the script.</param>
internal sealed record TrainingCall(Trainer Trainer, TrainingMethod? Method, IReadOnlyList<ShellWord> Before,
    IReadOnlyList<ShellWord> Behind)
{
    private static readonly string[] s_llamaFactory = ["train.py", "train_bash.py"];

    /// <summary>The line that it begins in.</summary>
    public int Line => Before[0].Line;

    /// <summary>The training that a command starts; null where it starts none.</summary>
    public static TrainingCall? Of(IReadOnlyList<ShellWord> words)
    {
        for (var at = 0; at < words.Count; at++)
        {
            var (word, next) = (Path.GetFileName(words[at].Text), at + 1 < words.Count ? words[at + 1].Text : "");
            TrainingCall Call(Trainer trainer, TrainingMethod? method, int taken) =>
                new(trainer, method, [.. words.Take(at + 1)], [.. words.Skip(at + taken)]);
            if (word == "trl" && Recipe.MethodNamed(next) is { } named)
                return Call(Trainer.Trl, named, 2);
            if (word == "axolotl" && next is "train" or "preprocess")
                return next == "train" ? Call(Trainer.Axolotl, null, 2) : null;
            if (word is "axolotl.cli.train" or "scripts.finetune")
                return Call(Trainer.Axolotl, null, 1);
            if (word is "llamafactory-cli" or "llamafactory" && next == "train")
                return Call(Trainer.LlamaFactory, null, 2);
            if (s_llamaFactory.Contains(word) && words.Any(other => other.Text.StartsWith("--stage", StringComparison.Ordinal)
                || other.Text.StartsWith("--finetuning", StringComparison.Ordinal)))
                return Call(Trainer.LlamaFactory, null, 1);
            if (ScriptNames.MethodOf(word) is { } method)
                return Call(Trainer.Trl, method, 1);
        }
        return null;
    }

    /// <summary>What the launcher was told, and where it is said here.</summary>
    public IEnumerable<(int Line, string Shown, string Why)> Launched()
    {
        foreach (var setting in CommandWords.Settings([.. Before.SkipLast(1)], out _))
            yield return (setting.Line, $"--{setting.Name} {setting.Text}", LauncherOptions.Here(setting.Name) is { } here
                ? $"said to the launcher: handbook launch {here} {setting.Text} {(Method is { } method ? MethodDefinition.Of(method).Name : "sft")} RECIPE"
                : "said to a launcher that is not needed here");
    }
}
