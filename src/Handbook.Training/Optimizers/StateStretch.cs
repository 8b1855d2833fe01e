using Handbook.Base;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Optimizers;

/// <summary>A state that an optimiser keeps of every element.</summary>
/// <param name="Name">Its name in a checkpoint, as the reference calls it.</param>
/// <param name="Code">What its codes mean where it is kept in 8 bits.</param>
internal sealed record StateKind(string Name, DynamicCode Code);

/// <summary>Neighbouring elements of a bucket that are updated in one pass, with their states: in 32 bits as many as lie together, in 8
/// bits one published tensor, as its blocks begin with it.</summary>
internal sealed class StateStretch
{
    private readonly StateStore _store;
    private readonly IReadOnlyList<StateKind> _kinds;
    private readonly IReadOnlyList<ParameterPiece> _pieces;
    private readonly long _start, _count;
    private readonly Tensor[] _plain = [];
    private readonly CodedTensors[] _coded = [];

    private StateStretch(StateStore store, IReadOnlyList<StateKind> kinds, IReadOnlyList<ParameterPiece> pieces, bool coded)
    {
        (_store, _kinds, _pieces) = (store, kinds, pieces);
        _start = pieces[0].Offset + pieces[0].Own.From;
        _count = pieces[^1].Offset + pieces[^1].Own.From + pieces[^1].Own.Count - _start;
        if (!coded)
        {
            _plain = [.. kinds.Select(_ => store.Zeros(Bucket.OwnValues.DType, _count))];
            return;
        }
        var blocks = (_count + CodedStateKernel.Block - 1) / CodedStateKernel.Block;
        _coded = [.. kinds.Select(kind => new CodedTensors(store.Zeros(DType.UInt8, blocks * CodedStateKernel.Block),
            store.Zeros(DType.Float32, blocks), kind.Code))];
    }

    public ParameterBucket Bucket => _pieces[0].Bucket;

    /// <summary>The stretches of everything that an optimiser updates.</summary>
    /// <param name="updates">Says of a piece whether it is among them.</param>
    public static IReadOnlyList<StateStretch> Of(ModelParameters parameters, StateStore store, StateLayout layout,
        IReadOnlyList<StateKind> kinds, Func<ParameterPiece, bool> updates)
    {
        var stretches = new List<StateStretch>();
        var run = new List<ParameterPiece>();
        foreach (var piece in ParameterPiece.Trained(parameters))
        {
            if (run.Count > 0 && !ReferenceEquals(run[0].Bucket, piece.Bucket))
                Close();
            if (!updates(piece) || piece.Own.Count == 0)
                Close();
            else if (kinds.Count > 0 && layout.Codes(piece))
            {
                Close();
                RequireBlocks(piece);
                stretches.Add(new(store, kinds, [piece], coded: true));
            }
            else
                run.Add(piece);
        }
        Close();
        return stretches;

        void Close()
        {
            if (run.Count > 0)
                stretches.Add(new(store, kinds, [.. run], coded: false));
            run.Clear();
        }
    }

    private static void RequireBlocks(ParameterPiece piece)
    {
        if (piece.Own.From % CodedStateKernel.Block != 0)
            throw new InputException($"states of {piece.Name} cannot be kept in 8 bits and shared out: it is cut at element {piece.Own.From}",
                why: $"{CodedStateKernel.Block} elements have one scale, and no block may belong to two processes",
                fix: "set zero_stage: 0, or an optimiser with states in 32 bits");
    }

    /// <summary>What a checkpoint keeps; codes with their scales, so that a run goes on with the same bits.</summary>
    public IEnumerable<(string Name, Tensor Value)> State()
    {
        for (var k = 0; k < _kinds.Count; k++)
            foreach (var piece in _pieces)
                if (_coded.Length > 0)
                {
                    yield return (NamedSlices.Name(_kinds[k].Name, piece), NamedSlices.Of(piece, _coded[k].Codes, _start)!);
                    yield return (NamedSlices.Name(_kinds[k].Name + "_absmax", piece, CodedStateKernel.Block), _coded[k].Scales.Detach());
                }
                else
                    yield return (NamedSlices.Name(_kinds[k].Name, piece), NamedSlices.Of(piece, _plain[k], _start)!);
    }

    /// <summary>The values of a state in 32 bits; [count].</summary>
    public Tensor Plain(int kind) => _plain[kind];

    /// <summary>The elements that this stretch is about; a view.</summary>
    /// <param name="own">Numbers of what this process updates of the bucket.</param>
    public Tensor Of(Tensor own) => own.Detach().Narrow(0, _start - Bucket.Start, _count);

    /// <summary>One step of a rule over all its elements.</summary>
    public void Step<TRule>(TRule rule, double gradientScale) where TRule : struct, IOptimizerRule
    {
        for (long from = 0, count; from < _count; from += count)
        {
            using var scope = TensorScope.Enter();
            count = Math.Min(_store.Window, _count - from);
            var (at, kernels) = (_start - Bucket.Start + from, DeviceKernels.Of(Bucket.OwnValues));
            var (values, gradients) = (Bucket.OwnValues.Detach().Narrow(0, at, count), Bucket.OwnGradients!.Narrow(0, at, count));
            var copy = Bucket.OwnCompute?.Detach().Narrow(0, at, count);
            if (_coded.Length > 0)
                kernels.OptimizerStep(rule, values, gradients, [.. _coded.Select(state => Window(state, from, count))], copy,
                    gradientScale);
            else
                kernels.OptimizerStep(rule, values, gradients, [.. _plain.Select(state => state.Narrow(0, from, count))], copy,
                    gradientScale);
            if (Bucket.Rounds)
            {
                kernels.RoundToBFloat16(values);
                foreach (var state in _plain)
                    kernels.RoundToBFloat16(state.Narrow(0, from, count));
            }
            if (Bucket.IsSpilled)
                SpillFile.Release(values);
            foreach (var state in _plain)
                _store.Release(state, state.Narrow(0, from, count));
            foreach (var state in _coded)
                _store.Release(state.Codes, Window(state, from, count).Codes);
        }
    }

    // A window begins with a block.
    private static CodedTensors Window(CodedTensors state, long from, long count) => state with
    {
        Codes = state.Codes.Narrow(0, from, (count + CodedStateKernel.Block - 1) / CodedStateKernel.Block * CodedStateKernel.Block),
        Scales = state.Scales.Narrow(0, from / CodedStateKernel.Block, (count + CodedStateKernel.Block - 1) / CodedStateKernel.Block),
    };
}
