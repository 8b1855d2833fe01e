using System.Globalization;
using System.Text.RegularExpressions;
using Handbook.Base;

namespace Handbook.Models.Files;

/// <summary>A model in several GGUF files, as llama.cpp's gguf-split names and marks them.</summary>
internal static partial class GgufParts
{
    /// <summary>How many files there are.</summary>
    public const string CountKey = "split.count";

    private const string NumberKey = "split.no", TensorsKey = "split.tensors.count";

    /// <summary>The paths of all files, in order.</summary>
    /// <param name="path">Any of them.</param>
    /// <exception cref="InputException">The name does not say which one it is, or one is missing.</exception>
    public static IReadOnlyList<string> Of(string path, int count)
    {
        var name = Numbered().Match(path);
        if (!name.Success || int.Parse(name.Groups["count"].Value, CultureInfo.InvariantCulture) != count)
            throw new InputException($"{path} is one of {count} files of a model, but its name does not say which",
                why: "the others are found by their names", fix: $"name them …-00001-of-{count:d5}.gguf and so on");
        string[] all = [.. Enumerable.Range(1, count).Select(number => $"{name.Groups["stem"].Value}-{number:d5}-of-{count:d5}.gguf")];
        return all.FirstOrDefault(one => !File.Exists(one)) is not { } missing ? all : throw new InputException(
            $"{missing} is not there, but {path} is one of {count} files of a model", why: "the files are one model together",
            fix: "fetch all of them into one folder");
    }

    /// <summary>A file that is the one its name says.</summary>
    public static GgufFile Checked(GgufFile file, int number, int count)
    {
        if (file.Metadata.Whole(CountKey) == count && file.Metadata.Whole(NumberKey) == number)
            return file;
        using (file)
            throw new InputException($"{file.Path} is number {file.Metadata.Whole(NumberKey) + 1} of "
                + $"{file.Metadata.Whole(CountKey)} files, and not {number + 1} of {count} as its name says",
                fix: "give the files the names that they were fetched under");
    }

    /// <summary>All files together, which hold as many tensors as they say.</summary>
    public static GgufFile Whole(GgufFile file) => file.Metadata.Whole(TensorsKey) is not { } all || all == file.Tensors.Count ? file
        : throw new InputException($"{file.Path} and its other files hold {file.Tensors.Count} tensors, but are said to hold {all}",
            why: "they are not all of one model", fix: "fetch the files again");

    [GeneratedRegex(@"\A(?<stem>.*)-(?<number>[0-9]{5})-of-(?<count>[0-9]{5})\.gguf\z", RegexOptions.Singleline)]
    private static partial Regex Numbered();
}
