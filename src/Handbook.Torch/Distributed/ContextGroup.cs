using Handbook.Base.Progress;

namespace Handbook.Torch.Distributed;

/// <summary>Processes that share the tokens of the same rows, in a ring: each sends to the next and receives from the one before.</summary>
/// <param name="group">Of these processes; the caller's.</param>
/// <param name="explain">Finds out who is to blame where an operation fails; null: what the group says is passed on.</param>
internal sealed class ContextGroup(ProcessGroup group, Func<Exception, Exception>? explain = null)
{
    /// <summary>How many there are.</summary>
    public int Size => group.Size;

    /// <summary>Which one this is, from 0.</summary>
    public int Rank => group.Rank;

    /// <summary>Bytes that this one has passed on to the next so far.</summary>
    public long Passed { get; private set; }

    /// <summary>Replaces a tensor by the sum of everyone's; all have the same shape, and get the same bits.</summary>
    public void Sum(Tensor values) => Wait(() => group.AllReduce(values, Reduction.Sum, inOrder: true));

    /// <summary>What everyone brings, by rank; of any length each.</summary>
    public IReadOnlyList<byte[]> Gather(byte[] mine) => GatheredBytes.Of(group, mine, Wait);

    /// <summary>Begins to send values to the next and to receive from the one before.</summary>
    /// <param name="values">What goes; stays as it is until the end.</param>
    /// <param name="shape">Of what comes.</param>
    /// <param name="channel">Keeps apart what is under way at once: all begin what has one number in the same order.</param>
    public Passing Pass(Tensor values, long[] shape, int channel)
    {
        var comes = Tensor.Empty(values.DType, values.Device, shape);
        Work? receiving = null, sending = null;
        try
        {
            receiving = group.Receive(comes, (Rank + Size - 1) % Size, channel);
            sending = group.Send(values, (Rank + 1) % Size, channel);
        }
        catch (Exception failure) when (explain is not null && failure is TorchException or TimeoutException)
        {
            receiving?.Dispose();
            throw explain(failure);
        }
        Passed += values.Count * values.DType.Size;
        return new(this, comes, receiving, sending);
    }

    private void Wait(Func<Work> begin) => Pulse.WaitFor("those who share its rows", () => Work.Run(begin, explain));

    /// <summary>Values on their way.</summary>
    internal sealed class Passing(ContextGroup ring, Tensor comes, Work receiving, Work sending)
    {
        /// <summary>What came; what was sent is free again.</summary>
        public Tensor Wait()
        {
            ring.Wait(() => receiving);
            ring.Wait(() => sending);
            return comes;
        }
    }
}
