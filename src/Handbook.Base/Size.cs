namespace Handbook.Base;

/// <summary>Bytes and durations as people read them.</summary>
internal static class Size
{
    /// <summary><c>1.2 GB</c>; powers of 1000, as disks and <c>df -H</c> count.</summary>
    /// <param name="decimals">Of what is below 100 of its unit.</param>
    public static string Of(long bytes, int decimals = 1)
    {
        string[] units = ["B", "kB", "MB", "GB", "TB", "PB"];
        double value = bytes;
        var unit = 0;
        while (value >= 999.5 && unit < units.Length - 1)
        {
            value /= 1000;
            unit++;
        }
        return (unit == 0 || value >= 99.95 ? value.ToString("0") : value.ToString("F" + decimals)) + $" {units[unit]}";
    }

    /// <summary><c>0:07</c>, <c>12:34</c>, <c>3:05:09</c>, <c>2d 03:05</c>.</summary>
    public static string Of(TimeSpan time)
    {
        if (time < TimeSpan.Zero)
            time = TimeSpan.Zero;
        if (time.TotalDays >= 1)
            return $"{(int)time.TotalDays}d {time.Hours:00}:{time.Minutes:00}";
        return time.TotalHours >= 1 ? $"{time.Hours}:{time.Minutes:00}:{time.Seconds:00}" : $"{time.Minutes}:{time.Seconds:00}";
    }
}
