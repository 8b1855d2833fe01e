using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Models;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Runs;

/// <summary>Texts on which two models are compared.</summary>
internal sealed class MergeProbe
{
    /// <summary>Most tokens of a text that are compared.</summary>
    private const int Longest = 512;

    /// <summary>Prose, a conversation, a program, sums and another language, so that no model knows none of it.</summary>
    private static readonly string[] s_texts =
    [
        "The sun had set behind the hills, and the village was quiet. A small boy sat by the window and waited for his father to come home.",
        "User: How do I boil an egg?\nAssistant: Put it into boiling water for eight minutes, then cool it under cold water and peel it.",
        "def mean(values):\n    total = 0\n    for value in values:\n        total += value\n    return total / len(values)\n",
        "If a train travels 120 kilometres in two hours, its mean speed is 120 / 2 = 60 kilometres per hour.",
        "Der Bäcker öffnet seinen Laden jeden Morgen um sechs Uhr, und die ersten Kunden warten schon vor der Tür.",
        "1. Water is made of hydrogen and oxygen.\n2. The Earth goes round the Sun once a year.\n3. Paris is the capital of France.",
    ];

    private readonly int[][] _rows;

    private MergeProbe(int[][] rows) => _rows = rows;

    /// <param name="file">A file with a text on each line; null for the built-in ones.</param>
    /// <exception cref="InputException">The file is not there or has no text, or the tokenizer is not the model's.</exception>
    public static MergeProbe Of(Tokenizer tokenizer, DecoderConfig config, string? file)
    {
        var most = config.Positions == PositionKind.Learned ? Math.Min(Longest, config.MaxPositions) : Longest;
        int[][] rows = [.. (file is null ? s_texts : Lines(file)).Select(text => tokenizer.EncodePrompt(text))
            .Where(row => row.Length > 1).Select(row => row[..Math.Min(row.Length, most)])];
        if (rows.Length == 0)
            throw new InputException($"--probe: {file ?? "the built-in texts"}: no text has two tokens or more",
                why: "a text of one token predicts nothing", fix: "write texts into a file, one a line, and name it with --probe");
        if (rows.Max(row => row.Max()) is var id && id >= config.VocabularySize)
            throw new InputException($"the tokenizer gives the id {id}, but the model has {config.VocabularySize} rows in its embedding",
                why: "tokens were added after the model was made, or the tokenizer belongs to another model",
                fix: "merge with the tokenizer that the adapter was trained with");
        return new(rows);
    }

    /// <summary>log p of each token behind the first of each text, or of a reward model the score of each text.</summary>
    public double[] Measure(Decoder model, IWorkObserver observer)
    {
        using var mode = GradMode.Disabled();
        using var count = observer.Began("comparing", _rows.Length, "texts");
        var all = new List<double>();
        foreach (var row in _rows)
        {
            all.AddRange(Measure(model, row));
            count.Advance();
        }
        return [.. all];
    }

    private static double[] Measure(Decoder model, int[] row)
    {
        using var scope = TensorScope.Enter();
        var stream = StreamLayout.Of([row]);
        return model.Config.Head == ModelHead.Score
            ? model.Scores(stream, [row.Length - 1]).To(DType.Float64).ToArray<double>()
            : LinearLogProb.LogProbs(model.Hidden(stream).Narrow(0, 0, row.Length - 1), model.Head, row[1..], model.HeadOptions)
                .ToArray<double>();
    }

    private static IEnumerable<string> Lines(string file)
    {
        try
        {
            return File.ReadAllLines(file).Where(line => line.Trim().Length > 0);
        }
        catch (Exception error) when (FileProblem.Explain(error) is { } explained)
        {
            throw new InputException($"--probe: {explained.What}", fix: "name a file with texts, one a line", inner: error);
        }
    }
}
