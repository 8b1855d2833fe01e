using System.Runtime.InteropServices;

namespace Handbook.Torch.Native;

/// <summary>The functions of native/process_group.cpp. A shim that was built without c10d has the first alone.</summary>
internal static unsafe partial class Shim
{
    [LibraryImport(Library, EntryPoint = "hb_group_missing")] private static partial byte* GroupMissingText(int kind);

    [LibraryImport(Library, EntryPoint = "hb_store_open", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint StoreOpen(string host, int* port, int serves, int timeout, nint* result);
    [LibraryImport(Library, EntryPoint = "hb_store_prefix", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint StorePrefix(nint store, string prefix, nint* result);
    [LibraryImport(Library, EntryPoint = "hb_store_free")] public static partial void StoreFree(nint store);
    [LibraryImport(Library, EntryPoint = "hb_store_set", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint StoreSet(nint store, string key, byte* value, long length);
    [LibraryImport(Library, EntryPoint = "hb_store_get", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint StoreGet(nint store, string key, byte** value, long* length);
    [LibraryImport(Library, EntryPoint = "hb_store_free_value")] public static partial void StoreFreeValue(byte* value);
    [LibraryImport(Library, EntryPoint = "hb_store_has", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint StoreHas(nint store, string key, int* result);
    [LibraryImport(Library, EntryPoint = "hb_store_add", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint StoreAdd(nint store, string key, long value, long* result);
    [LibraryImport(Library, EntryPoint = "hb_store_delete", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint StoreDelete(nint store, string key, int* result);

    [LibraryImport(Library, EntryPoint = "hb_group_gloo", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint GroupGloo(nint store, int rank, int size, string? host, string? networkInterface, int timeout, nint* result);
    [LibraryImport(Library, EntryPoint = "hb_group_nccl")]
    public static partial nint GroupNccl(nint store, int rank, int size, nint* result);
    [LibraryImport(Library, EntryPoint = "hb_group_stop")] public static partial void GroupStop(nint group);
    [LibraryImport(Library, EntryPoint = "hb_group_free")] public static partial void GroupFree(nint group);

    [LibraryImport(Library, EntryPoint = "hb_broadcast")]
    public static partial nint Broadcast(nint group, nint values, int root, nint* work);
    [LibraryImport(Library, EntryPoint = "hb_all_reduce")]
    public static partial nint AllReduce(nint group, nint values, int reduction, int inOrder, nint* work);
    [LibraryImport(Library, EntryPoint = "hb_reduce_scatter")]
    public static partial nint ReduceScatter(nint group, nint output, nint input, long* counts, int reduction, nint* work);
    [LibraryImport(Library, EntryPoint = "hb_all_gather")]
    public static partial nint AllGather(nint group, nint output, nint input, nint* work);
    [LibraryImport(Library, EntryPoint = "hb_all_to_all")]
    public static partial nint AllToAll(nint group, nint output, nint input, long* outputCounts, long* inputCounts, nint* work);
    [LibraryImport(Library, EntryPoint = "hb_send")] public static partial nint Send(nint group, nint values, int to, int tag, nint* work);
    [LibraryImport(Library, EntryPoint = "hb_receive")]
    public static partial nint Receive(nint group, nint values, int from, int tag, nint* work);
    [LibraryImport(Library, EntryPoint = "hb_barrier")] public static partial nint Barrier(nint group, nint* work);
    [LibraryImport(Library, EntryPoint = "hb_work_wait")] public static partial nint WorkWait(nint work, long timeout, int* outcome);
    [LibraryImport(Library, EntryPoint = "hb_work_free")] public static partial void WorkFree(nint work);
    [LibraryImport("libc", EntryPoint = "_exit")] public static partial void ExitAtOnce(int status);

    /// <summary>What this installation lacks for groups of a kind (0 Gloo, 1 NCCL); null where nothing.</summary>
    public static string? GroupMissing(int kind) => Marshal.PtrToStringUTF8((nint)GroupMissingText(kind));
}
