using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

/// <summary>Runs something with another number of threads. Other tests may run meanwhile: their results do not depend on it.</summary>
internal static class Threads
{
    public static T One<T>(Func<T> action)
    {
        var before = ThreadTeam.Threads;
        ThreadTeam.Threads = 1;
        try
        {
            return action();
        }
        finally
        {
            ThreadTeam.Threads = before;
        }
    }
}
