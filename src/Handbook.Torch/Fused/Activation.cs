namespace Handbook.Torch.Fused;

/// <summary>The point-wise functions of feed-forward layers, by the names that configurations give them.</summary>
public enum Activation
{
    /// <summary>x·σ(x), also called swish.</summary>
    Silu,
    /// <summary>x·Φ(x).</summary>
    Gelu,
    /// <summary>x·½·(1 + tanh(√(2/π)·(x + 0.044715·x³))): gelu_new, gelu_pytorch_tanh.</summary>
    GeluTanh,
    /// <summary>x·σ(1.702·x).</summary>
    QuickGelu,
    /// <summary>max(0, x).</summary>
    Relu,
    /// <summary>max(0, x)².</summary>
    ReluSquared,
    /// <summary>tanh x.</summary>
    Tanh,
}
