using Handbook.Base.Progress;
using Handbook.Data.Cache;

namespace Handbook.Training;

/// <summary>Shows tokenising as a progress bar per data set.</summary>
public sealed class TokenizingProgress(LiveLine line) : IProgress<TokenizeProgress>, IDisposable
{
    private readonly Lock _lock = new();
    private ProgressBar? _bar;
    private string? _name;

    public void Report(TokenizeProgress value)
    {
        lock (_lock)
        {
            if (_name != value.Name)
            {
                _bar?.Dispose();
                (_name, _bar) = (value.Name, new ProgressBar($"tokenizing {value.Name}", null, "rows", line));
            }
            _bar!.Report(value.Rows);
            if (!value.Done)
                return;
            _bar.Dispose();
            (_name, _bar) = (null, null);
        }
    }

    public void Dispose()
    {
        lock (_lock)
            _bar?.Dispose();
    }
}
