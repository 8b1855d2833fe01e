using Handbook.Data;
using Handbook.Models;
using Handbook.Training.Methods;

namespace Handbook.Training.Tests.Contract;

/// <summary>A method that calls back after so many batches, and otherwise does what the inner one does.</summary>
internal sealed class Counting(ITrainingMethod inner, Action callback, int every) : ITrainingMethod
{
    private int _batches;

    public string Name => inner.Name;

    public GroupTotals Totals(IReadOnlyList<TokenRow> rows) => inner.Totals(rows);

    public void Run(Decoder model, LossGroup group, LossPass pass)
    {
        foreach (var _ in group.Bins)
            if (++_batches % every == 0)
                callback();
        inner.Run(model, group, pass);
    }
}
