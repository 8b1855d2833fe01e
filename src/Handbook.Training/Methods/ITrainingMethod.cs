using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;

namespace Handbook.Training.Methods;

/// <summary>What differs between the training methods: which loss a group of rows has, what it is divided by, and what is
/// measured.</summary>
internal interface ITrainingMethod
{
    /// <summary>The method's command, e.g. <c>sft</c>.</summary>
    string Name { get; }

    /// <summary>Whether each micro-batch is a group of its own; otherwise the whole step is one, however it is accumulated.</summary>
    bool GroupsByMicroBatch => false;

    /// <summary>Whether a row's loss depends on the other rows of its group. Then evaluation has groups of
    /// <c>per_device_eval_batch_size</c> rows.</summary>
    bool CouplesRows => false;

    /// <summary>Numbers that belong into a checkpoint, such as a running mean; empty for most.</summary>
    double[] State { get => []; set { } }

    /// <summary>The numbers of everyone who trains along, as one checkpoint keeps them.</summary>
    /// <param name="states">What <see cref="State"/> is for each; the same for all, unless a method says otherwise here.</param>
    double[] Joined(IReadOnlyList<double[]> states) => states[0];

    /// <summary>Tensors that belong into a checkpoint, such as a reference model that changes; none for most.</summary>
    IEnumerable<(string Name, Tensor Value)> StateTensors => [];

    /// <summary>Counts of a group.</summary>
    GroupTotals Totals(IReadOnlyList<TokenRow> rows);

    /// <summary>What a step learns from, where that is not rows of the data but what the model makes of them now, such as its own answers
    /// to prompts.</summary>
    /// <param name="model">The model with its current weights.</param>
    /// <param name="updates">Updates done; 0 in evaluation, so that evaluations compare.</param>
    /// <param name="groups">Rows of the data.</param>
    /// <param name="pass">Says whether it is for training, and receives what is measured.</param>
    IReadOnlyList<LossGroup> Make(Decoder model, int updates, IReadOnlyList<LossGroup> groups, LossPass pass) => groups;

    /// <summary>Computes the loss of a group part by part and hands each part to the pass.</summary>
    /// <param name="model">The model, in training or frozen.</param>
    void Run(Decoder model, LossGroup group, LossPass pass);

    /// <summary>Called after each update of the weights.</summary>
    /// <param name="model">The model that was updated.</param>
    /// <param name="updates">Updates done.</param>
    void AfterStep(Decoder model, int updates)
    {
    }
}
