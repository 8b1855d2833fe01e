using System.Globalization;
using Handbook.Base.Progress;

namespace Handbook.Training.Distributed;

/// <summary>What a worker does: part of what the others read where they wait for it.</summary>
/// <param name="Name">For a message, e.g. <c>step 12</c>.</param>
/// <param name="Computes">Whether it does nothing there but compute, so that a pause means that it hangs. Elsewhere it may read, write, or
/// ask another machine.</param>
internal sealed record WorkerPlace(string Name, bool Computes)
{
    /// <summary>Before anything is done.</summary>
    public static WorkerPlace Start { get; } = new("the start of the run", false);
}

/// <summary>What a rank leaves in the store at each beat of the watch.</summary>
/// <param name="Number">Which sign it is.</param>
/// <param name="Meeting">Operations of the group of all that it has begun.</param>
/// <param name="Beats">What <see cref="Pulse"/> has counted.</param>
/// <param name="IsWorking">Whether an operator or a kernel is under way.</param>
/// <param name="WaitsFor">What of other ranks it stands still for; empty where it does not.</param>
/// <param name="Place">What it does.</param>
internal sealed record LifeSign(long Number, long Meeting, long Beats, bool IsWorking, string WaitsFor, WorkerPlace Place)
{
    /// <summary>That of this process.</summary>
    public static LifeSign Own(long number, long meeting, WorkerPlace place) =>
        new(number, meeting, Pulse.Beats, Pulse.IsWorking, Pulse.WaitsFor ?? "", place);

    /// <summary>Whether it stands still until others come.</summary>
    public bool Waits => WaitsFor.Length > 0;

    /// <summary>The same where nothing went on between two signs, whose numbers differ.</summary>
    public LifeSign Still => this with { Number = 0 };

    /// <summary>Where it is, for a message.</summary>
    public string Where => $"{Place.Name} (operation {Meeting}){(Waits ? $", where it waits for {WaitsFor}" : "")}";

    /// <summary>As it lies in the store.</summary>
    public string ToText() => string.Create(CultureInfo.InvariantCulture,
        $"{Number}\n{Meeting}\n{Beats}\n{(IsWorking ? 1 : 0)}\n{(Place.Computes ? 1 : 0)}\n{WaitsFor}\n{Place.Name}");

    /// <summary>The sign of a text; null where there is none yet.</summary>
    public static LifeSign? FromText(string? text) => text?.Split('\n', 7) is not { Length: 7 } parts ? null
        : new(Whole(parts[0]), Whole(parts[1]), Whole(parts[2]), parts[3] == "1", parts[5], new(parts[6], parts[4] == "1"));

    private static long Whole(string text) => long.Parse(text, CultureInfo.InvariantCulture);
}
