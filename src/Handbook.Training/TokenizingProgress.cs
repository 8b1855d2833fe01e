using Handbook.Base.Progress;
using Handbook.Data.Cache;

namespace Handbook.Training;

/// <summary>Tells an observer of tokenising, one count for each data set.</summary>
internal sealed class TokenizingProgress(IWorkObserver observer) : IProgress<TokenizeProgress>, IDisposable
{
    private readonly Lock _lock = new();
    private IWorkCount? _count;
    private string? _name;

    public void Report(TokenizeProgress value)
    {
        lock (_lock)
        {
            var name = $"{value.What} {value.Name}";
            if (_name != name)
            {
                _count?.Dispose();
                (_name, _count) = (name, observer.Began(name, null, "rows"));
            }
            _count!.Report(value.Rows);
            if (!value.Done)
                return;
            _count.Dispose();
            (_name, _count) = (null, null);
        }
    }

    public void Dispose()
    {
        lock (_lock)
            _count?.Dispose();
    }
}
