using Handbook.Base.Progress;

namespace Handbook.Training.Tests.Plans;

/// <summary>Keeps what work says of itself.</summary>
internal sealed class HeardWork : IWorkObserver
{
    public List<string> Warnings { get; } = [];

    public long? Total { get; private set; }

    public long? Done { get; private set; }

    public int Begun { get; private set; }

    public void Warned(string text) => Warnings.Add(text);

    public IWorkCount Began(string what, long? total, string unit)
    {
        (Total, Done, Begun) = (total, 0, Begun + 1);
        return new Count(this);
    }

    private sealed class Count(HeardWork heard) : IWorkCount
    {
        public void Advance(long count) => heard.Done += count;

        public void Report(long done) => heard.Done = done;

        public void Dispose()
        {
        }
    }
}
