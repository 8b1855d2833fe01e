using Handbook.Models.Sharding;
using Handbook.Torch;

namespace Handbook.Training.Tests.Contract;

/// <summary>Weights and gradients on their way among threads of one process.</summary>
internal sealed class ThreadShards(ThreadShards.Place place, int rank) : IShardGroup
{
    public int Rank => rank;

    public int Count => place.Parts.Length;

    public void Gather(Tensor result, Tensor values) => place.With(rank, values, parts =>
    {
        for (var i = 0; i < parts.Length; i++)
            result.Narrow(0, i * values.Count, values.Count).CopyFrom(parts[i]);
    });

    public void SumParts(Tensor result, Tensor values) => place.With(rank, values, parts =>
        Add(result, parts, rank * result.Count));

    public void Exchange(Tensor result, Tensor values) => place.With(rank, values, parts =>
    {
        var count = values.Count / parts.Length;
        for (var i = 0; i < parts.Length; i++)
            result.Narrow(0, i * count, count).CopyFrom(parts[i].Narrow(0, rank * count, count));
    });

    public void Sum(Tensor values) => place.With(rank, values, parts => Add(values, parts, 0));

    private static void Add(Tensor result, Tensor[] parts, long start)
    {
        var sum = parts[0].Narrow(0, start, result.Count) + parts[1].Narrow(0, start, result.Count);
        foreach (var part in parts[2..])
            sum.AddInPlace(part.Narrow(0, start, result.Count));
        result.CopyFrom(sum);
    }

    /// <summary>Where the threads lay down what they bring.</summary>
    internal sealed class Place(int count) : IDisposable
    {
        private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(1);

        private readonly Barrier _barrier = new(count);

        public Tensor[] Parts { get; } = new Tensor[count];

        public void With(int rank, Tensor values, Action<Tensor[]> use)
        {
            using var scope = TensorScope.Enter();
            Parts[rank] = values.Detach().Clone();
            Meet();
            use(Parts);
            Meet();         // nobody takes away what another still reads
        }

        public void Leave() => _barrier.RemoveParticipant();

        public void Dispose() => _barrier.Dispose();

        private void Meet()
        {
            if (!_barrier.SignalAndWait(s_patience))
                throw new TimeoutException("a worker did not come to where weights travel");
        }
    }
}
