namespace Handbook.Training;

/// <summary>Every so many steps: a whole number, or below 1 a share of all steps of the run.</summary>
/// <param name="Value">Greater than 0.</param>
public readonly record struct StepInterval(double Value)
{
    /// <summary>The interval in steps; a share is rounded up, as the Python trainer does.</summary>
    public int Resolve(int totalSteps) => Value < 1 ? Math.Max(1, (int)Math.Ceiling(totalSteps * Value)) : (int)Value;

    internal bool IsValid => Value > 0 && (Value < 1 || Value == Math.Floor(Value)) && Value <= int.MaxValue;

    /// <summary>The number as a recipe writes it.</summary>
    public override string ToString() => Value.ToString("R");
}
