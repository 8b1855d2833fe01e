using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Models.Files;

/// <summary>A whole file mapped read-only into memory; pages come from disk when they are touched.</summary>
internal sealed unsafe partial class MappedFile : IDisposable
{
    private readonly MemoryMappedFile? _file;
    private readonly MemoryMappedViewAccessor? _view;

    public MappedFile(string path)
    {
        if (FilePointer.Problem(path, path) is { } notFetched)
            throw notFetched;
        Path = path;
        try
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
            Length = stream.Length;
            if (Length == 0) // nothing to map
                return;
            _file = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read,
                HandleInheritability.None, leaveOpen: false);
            _view = _file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
            byte* pointer = null;
            _view.SafeMemoryMappedViewHandle.AcquirePointer(ref pointer);
            Pointer = pointer + _view.PointerOffset;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new InputException($"{path} does not exist", inner: e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path} cannot be read: {e.Message}", inner: e);
        }
    }

    /// <summary>Maps a file for what reads it; where that fails, the mapping goes at once.</summary>
    /// <param name="path">The file.</param>
    /// <param name="reader">Owns the mapping from here on.</param>
    public static T Open<T>(string path, Func<MappedFile, T> reader)
    {
        var file = new MappedFile(path);
        try
        {
            return reader(file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public string Path { get; }

    public long Length { get; }

    public byte* Pointer { get; }

    /// <summary>Keeps the mapping alive; null for an empty file.</summary>
    public SafeHandle? Handle => _view?.SafeMemoryMappedViewHandle;

    public ReadOnlySpan<byte> Slice(long start, long length) => start >= 0 && length >= 0 && start <= Length - length
        ? new(Pointer + start, checked((int)length))
        : throw new ArgumentOutOfRangeException(nameof(start));

    /// <summary>Lets the system take back the pages that were touched. They count as the process's memory until then, although the file
    /// holds them as well.</summary>
    public void ForgetPages()
    {
        if (Length > 0 && OperatingSystem.IsLinux())
            _ = Advise(Pointer, (nuint)Length, DontNeed);       // advice: where it is refused nothing is lost
    }

    private const int DontNeed = 4;     // MADV_DONTNEED

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(byte* start, nuint length, int advice);

    public void Dispose()
    {
        if (_view is null)
            return;
        // Balances AcquirePointer; tensors that hold a reference of their own keep the pages.
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file!.Dispose();
    }
}
