using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using Handbook.Base;

namespace Handbook.Torch;

/// <summary>Memory that lies in a file of a folder: what is not in use there costs disk, not memory.</summary>
/// <remarks>
/// The file has no name any more as soon as it is open, so that nothing is left behind however the process ends. Its tensors are the file's
/// own pages, shared with the system's cache: they come when they are touched, and after <see cref="Release"/> the system writes them out
/// and gives them away as it needs. A folder in memory (tmpfs) would gain nothing.
/// </remarks>
internal sealed unsafe partial class SpillFile : IDisposable
{
    private const int DontNeed = 4;             // MADV_DONTNEED: of a shared mapping it forgets the place of pages, not their content
    private const int NoSpace = 28;             // ENOSPC
    private const long Alignment = 1 << 16;

    private readonly FileStream _file;
    private readonly List<Mapping> _mappings = [];
    private long _length;

    /// <exception cref="InputException">Nothing can be written in the folder.</exception>
    public SpillFile(string folder)
    {
        var path = Path.Combine(folder, $".spill-{Environment.ProcessId}-{Path.GetRandomFileName()}");
        try
        {
            Directory.CreateDirectory(folder);
            _file = new(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete, 1,
                OperatingSystem.IsWindows() ? FileOptions.DeleteOnClose : FileOptions.None);
            if (!OperatingSystem.IsWindows())
                File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{folder}: no file can be made for paged states: {e.Message}", inner: e);
        }
        Folder = folder;
    }

    /// <summary>Where the file was made.</summary>
    public string Folder { get; }

    /// <summary>Zeros in the file; [count].</summary>
    /// <exception cref="InputException">The disk is full.</exception>
    public Tensor Zeros(DType type, long count)
    {
        var (start, size) = (_length, (count * type.Size + Alignment - 1) / Alignment * Alignment);
        _length += size;
        Reserve(start, size);
        var map = MemoryMappedFile.CreateFromFile(_file, null, _length, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None,
            leaveOpen: true);
        var view = map.CreateViewAccessor(start, size, MemoryMappedFileAccess.ReadWrite);
        byte* pointer = null;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref pointer);
        _mappings.Add(new(map, view));
        return Tensor.Wrap(pointer + view.PointerOffset, type, [count]);
    }

    // A hole of a sparse file that no longer finds room on the disk would end the process when it is touched.
    private void Reserve(long start, long size)
    {
        if (!OperatingSystem.IsLinux())
            return;
        if (Allocate(_file.SafeFileHandle, start, size) == NoSpace)
            throw new InputException($"{Folder}: the disk has no room for another {Size.Of(size)} of states",
                why: "offload_optimizer: nvme and paged optimisers keep states in a file of the run folder",
                fix: "make room, set output_dir to another disk, keep states in memory (offload_optimizer: none and an optimiser that is not paged), "
                    + "or take one that keeps less: adamw_bnb_8bit");
    }

    /// <summary>Says that a tensor of the file, or a part of one, is not needed for now.</summary>
    public static void Release(Tensor tensor)
    {
        if (!OperatingSystem.IsLinux())
            return;
        var page = (nuint)Environment.SystemPageSize;
        var start = (nuint)tensor.Data / page * page;
        var end = (nuint)tensor.Data + (nuint)(tensor.Count * tensor.DType.Size);
        _ = Advise((void*)start, end - start, DontNeed);        // advice: where it is refused nothing is lost
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(void* start, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "posix_fallocate")]
    private static partial int Allocate(SafeHandle file, long start, long length);

    /// <summary>Gives the disk back; the tensors must not be used any more.</summary>
    public void Dispose()
    {
        foreach (var (map, view) in _mappings)
        {
            // Without the view's own way of closing, which first writes all of it to the disk.
            view.SafeMemoryMappedViewHandle.ReleasePointer();
            view.SafeMemoryMappedViewHandle.Dispose();
            view.Dispose();
            map.Dispose();
        }
        _file.Dispose();
    }

    private sealed record Mapping(MemoryMappedFile File, MemoryMappedViewAccessor View);
}
