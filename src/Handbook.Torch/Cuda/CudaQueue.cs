using Handbook.Torch.Devices;

namespace Handbook.Torch.Cuda;

/// <summary>Where launches go.</summary>
internal interface ICudaQueue
{
    /// <summary>Puts a launch behind what a device was given before, and does not wait.</summary>
    void Launch(CudaLaunch launch, Device device);
}

/// <summary>Launches on the GPUs of this machine, in the order of libtorch's own operators: a text is compiled for a card when one of its
/// kernels is first launched there.</summary>
/// <param name="driver">Opens the cards.</param>
/// <param name="compiler">Compiles the texts.</param>
/// <param name="stream">The stream of the calling thread on a device.</param>
internal sealed unsafe class CudaQueue(CudaDriver driver, Nvrtc compiler, Func<Device, nint> stream) : ICudaQueue
{
    private readonly Lock _gate = new();                // a backward comes on a thread of libtorch for each card
    private readonly Dictionary<int, CudaContext> _cards = [];
    private readonly Dictionary<(int Card, CudaProgram Program), nint> _modules = [];
    private readonly Dictionary<(int Card, CudaProgram Program, string Kernel, int SharedBytes), nint> _functions = [];

    public void Launch(CudaLaunch launch, Device device)
    {
        CudaContext card;
        nint function;
        lock (_gate)
            (card, function) = Find(launch, device.Index);
        var at = stream(device);
        launch.With(arguments =>
        {
            card.Launch(function, launch.Kernel, (launch.Grid.X, launch.Grid.Y, launch.Grid.Z), launch.Threads, launch.SharedBytes, at,
                (void**)arguments);
            return 0;
        });
    }

    private (CudaContext Card, nint Function) Find(CudaLaunch launch, int index)
    {
        if (!_cards.TryGetValue(index, out var card))
            _cards.Add(index, card = driver.Open(index));
        var key = (index, launch.Program, launch.Kernel, launch.SharedBytes);
        if (!_functions.TryGetValue(key, out var function))
        {
            if (!_modules.TryGetValue((index, launch.Program), out var module))
                _modules.Add((index, launch.Program),
                    module = card.Load(compiler.Compile(launch.Program.Source, compiler.For(card.Card.Capability))));
            _functions.Add(key, function = card.Function(module, launch.Kernel, launch.SharedBytes));
        }
        return (card, function);
    }
}

/// <summary>The queue of this machine, made when the first kernel is launched.</summary>
internal sealed class MachineQueue : ICudaQueue
{
    private readonly Lazy<CudaQueue> _queue = new(() => new(CudaDriver.Need(), Nvrtc.Need(), TorchCuda.Stream));

    public void Launch(CudaLaunch launch, Device device) => _queue.Value.Launch(launch, device);
}
