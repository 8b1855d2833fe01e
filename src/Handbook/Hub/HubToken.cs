using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Hub;

/// <summary>The secret that says who asks. It is sent to the hub alone, and shown to nobody: as text it is its own name.</summary>
internal sealed class HubToken
{
    private readonly string _secret;

    private HubToken(string secret, string source) => (_secret, Source) = (secret, source);

    /// <summary>Where it comes from, e.g. <c>HF_TOKEN</c>.</summary>
    public string Source { get; }

    /// <summary>What a request says.</summary>
    public string Authorization => $"Bearer {_secret}";

    /// <summary>Where the Python client keeps it: <c>HF_TOKEN_PATH</c>, else <c>token</c> in <c>HF_HOME</c>.</summary>
    public static string File => HubCache.Variable("HF_TOKEN_PATH") is { } named ? UserFolder.Expand(named)
        : Path.Combine(HubCache.Home, "token");

    /// <summary>The token of this user: <c>HF_TOKEN</c>, <c>HUGGING_FACE_HUB_TOKEN</c>, or the stored one; null where there is
    /// none.</summary>
    public static HubToken? Find()
    {
        foreach (var name in (ReadOnlySpan<string>)["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
            if (HubCache.Variable(name)?.Trim() is { Length: > 0 } value)
                return Of(value, name);
        if (!System.IO.File.Exists(File))
            return null;
        return System.IO.File.ReadAllText(File).Trim() is { Length: > 0 } stored ? Of(stored, File) : null;
    }

    /// <summary>A token that somebody gave.</summary>
    /// <exception cref="InputException">It can be none.</exception>
    public static HubToken Of(string secret, string source)
    {
        secret = secret.Trim();
        // It becomes a line of a header: whatever else is in it would be another one.
        return secret.Length is > 0 and <= 4096 && secret.All(c => c is > ' ' and < '\x7f') ? new(secret, source)
            : throw new InputException($"the token of {source} is none", "a token is one word of letters, digits and signs",
                "make one at https://huggingface.co/settings/tokens and store it with `handbook login`");
    }

    /// <summary>Keeps it where the Python client finds it, too; nobody else may read the file.</summary>
    /// <returns>The file.</returns>
    public string Save()
    {
        var path = Path.GetFullPath(File);
        var unfinished = WholeFile.Unfinished(path);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
            if (!OperatingSystem.IsWindows())
                options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            using (var stream = new FileStream(unfinished, options))
                stream.Write(System.Text.Encoding.ASCII.GetBytes(_secret));
            WholeFile.Publish(unfinished, path);
        }
        catch (Exception error) when (error is not InputException && WholeFile.Explain(error, path) is { } explained)
        {
            WholeFile.Forget(unfinished);
            throw explained;
        }
        return path;
    }

    /// <summary>A text without the token, should somebody have put it there.</summary>
    public string RemovedFrom(string text) => text.Replace(_secret, "(the token)", StringComparison.Ordinal);

    /// <inheritdoc/>
    public override string ToString() => $"the token of {Source}";
}
