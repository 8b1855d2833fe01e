using Handbook.Base;
using Handbook.Torch.Native;

namespace Handbook.Torch.Distributed;

/// <summary>Who carries what a group sends.</summary>
public enum Backend
{
    /// <summary>Tensors on the CPU, over TCP.</summary>
    Gloo = 0,
    /// <summary>Tensors on CUDA devices.</summary>
    Nccl = 1,
}

/// <summary>What this installation can do.</summary>
public static class Backends
{
    extension(Backend backend)
    {
        /// <summary>What is missing for groups of this kind, and what to install; null where nothing is.</summary>
        public string? Missing
        {
            get
            {
                TorchRuntime.Load();
                try
                {
                    return Shim.GroupMissing((int)backend);
                }
                catch (EntryPointNotFoundException)
                {
                    return "the native library is older than process groups\n  fix: make build";
                }
            }
        }

        /// <exception cref="InputException">This installation lacks what such groups need; says what to install.</exception>
        internal void Require()
        {
            if (backend.Missing is not { } missing)
                return;
            var parts = missing.Split("\n  fix: ");
            throw new InputException($"training with several processes needs {backend}, which is not there: {parts[0]}",
                fix: parts.Length > 1 ? parts[1] : null);
        }
    }
}
