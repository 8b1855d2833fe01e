namespace Handbook.Torch;

/// <summary>libtorch refused a call; the message names the operator with the shapes and element types it was given.</summary>
public sealed class TorchException(string message, Exception? inner = null) : Exception(message, inner);
