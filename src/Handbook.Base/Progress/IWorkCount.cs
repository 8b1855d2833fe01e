namespace Handbook.Base.Progress;

/// <summary>How far counted work is. Any thread may advance it; disposing it says that the work is over.</summary>
public interface IWorkCount : IDisposable
{
    /// <summary>Says that so many more are done.</summary>
    void Advance(long count = 1);

    /// <summary>Says how many are done in all.</summary>
    void Report(long done);
}

/// <summary>Counts that nobody looks at.</summary>
internal static class WorkCount
{
    /// <summary>Takes every call as a sign of life.</summary>
    public static IWorkCount Unseen { get; } = new Nobody();

    private sealed class Nobody : IWorkCount
    {
        public void Advance(long count = 1) => Pulse.Beat();

        public void Report(long done) => Pulse.Beat();

        public void Dispose()
        {
        }
    }
}
