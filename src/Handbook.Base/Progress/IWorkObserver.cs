namespace Handbook.Base.Progress;

/// <summary>Hears what a piece of work says and how far it is. The library prints nothing itself: a program decides
/// what is shown, and where.</summary>
/// <remarks>Every member does nothing unless it is implemented, so that an observer names only what it cares for.
/// Any thread may call.</remarks>
public interface IWorkObserver
{
    /// <summary>A line about the work, for whoever watches it.</summary>
    void Said(string text)
    {
    }

    /// <summary>Something worth knowing that needs no action.</summary>
    void Noted(string text) => Said($"note: {text}");

    /// <summary>Something that is probably not meant, though the work goes on.</summary>
    void Warned(string text) => Said($"warning: {text}");

    /// <summary>Counted work begins; it ends when what is returned is disposed.</summary>
    /// <param name="what">What happens, e.g. <c>tokenizing</c>.</param>
    /// <param name="total">How many there are; null where that is not known.</param>
    /// <param name="unit">What is counted, e.g. <c>rows</c>.</param>
    IWorkCount Began(string what, long? total, string unit) => WorkCount.Unseen;
}
