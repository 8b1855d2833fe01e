namespace Handbook.Hub;

/// <summary>Lets one at a time in, of all processes on this machine, by a file that one of them has locked. The Python client locks the
/// same files in the same way.</summary>
internal sealed class FileGate : IDisposable
{
    private static readonly TimeSpan s_between = TimeSpan.FromMilliseconds(100);

    private readonly FileStream _file;

    private FileGate(FileStream file) => _file = file;

    /// <summary>Waits until nobody else is inside.</summary>
    public static async Task<FileGate> Enter(string path, CancellationToken cancel)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        while (true)
        {
            cancel.ThrowIfCancellationRequested();
            try
            {
                return new(new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None));
            }
            catch (IOException taken) when (taken is not (FileNotFoundException or DirectoryNotFoundException) && File.Exists(path))
            {
                await Task.Delay(s_between, cancel).ConfigureAwait(false);
            }
        }
    }

    public void Dispose() => _file.Dispose();
}
