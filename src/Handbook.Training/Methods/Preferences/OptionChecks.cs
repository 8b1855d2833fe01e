using Handbook.Base;

namespace Handbook.Training.Methods.Preferences;

/// <summary>Checks that several preference methods share.</summary>
internal static class OptionChecks
{
    public static void Share(double? value, string key, string usual, Diagnostics report)
    {
        if (value is < 0 or > 1)
            report.OutOfRange(key, value, "must lie between 0 and 1", fix: $"use {usual}");
    }

    public static void NotNegative(double value, string key, Diagnostics report)
    {
        if (value < 0)
            report.OutOfRange(key, value, "must be 0 or greater", why: "a negative weight climbs the loss", fix: "use 1.0");
    }

    public static void Smoothing(PreferenceOptions options, Diagnostics report)
    {
        if (options.LabelSmoothing is < 0 or >= 1)
            report.OutOfRange("label_smoothing", options.LabelSmoothing, "must be at least 0 and below 0.5",
                why: "it is the share of pairs labelled the wrong way round", fix: "use 0.1");
        else if (options.LabelSmoothing >= 0.5)
            report.Warning("label_smoothing", $"is {options.LabelSmoothing}", why: "from 0.5 on the rejected answers are preferred",
                fix: "use 0.1");
    }
}
