namespace Handbook.Models;

/// <summary>Attention with linear biases: no embedding of positions, but scores that fall with the distance, in each head at another rate.
/// Press et al. 2022, arXiv:2108.12409, §3.</summary>
internal static class Alibi
{
    /// <summary>The published slopes, steepest first.</summary>
    /// <remarks>
    /// <code>
    /// H a power of two:  m_h = 2^(−8h/H),  h = 1 … H
    /// otherwise:         those of P, the power of two below H, then every other one of 2P: 2^(−4(2h−1)/P),  h = 1 … H − P
    /// </code>
    /// </remarks>
    /// <param name="heads">H.</param>
    public static ValueList<double> Slopes(int heads)
    {
        var power = 1 << System.Numerics.BitOperations.Log2((uint)heads);
        return [.. Enumerable.Range(1, power).Select(h => Math.Pow(2, -8.0 * h / power)),
            .. Enumerable.Range(1, heads - power).Select(h => Math.Pow(2, -4.0 * (2 * h - 1) / power))];
    }
}
