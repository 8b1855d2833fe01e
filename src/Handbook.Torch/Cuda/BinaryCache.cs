using System.Security.Cryptography;
using System.Text;
using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Torch.Cuda;

/// <summary>Compiled kernels on disk, one file each, named by the hash of all that decides its content.</summary>
/// <remarks>
/// <code>magic (8 bytes) · SHA-256 of the rest (32) · length of the log (4) · log · image</code>
/// A file that is not whole counts as absent, and is written anew.
/// </remarks>
/// <param name="folder">Where they lie; made when the first is written.</param>
internal sealed class BinaryCache(string folder)
{
    private static readonly byte[] s_magic = "HBCUDA1\n"u8.ToArray();

    /// <summary><c>cuda</c> in the cache folder.</summary>
    public static BinaryCache Default { get; } = new(System.IO.Path.Combine(FileHashes.DefaultFolder, "cuda"));

    /// <summary>Where the file of a hash lies.</summary>
    public string PathOf(string hash) => System.IO.Path.Combine(folder, hash + ".kernel");

    /// <summary>Image and log; null where there is no whole file.</summary>
    public (byte[] Image, string Log)? Read(string hash)
    {
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(PathOf(hash));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
        var head = s_magic.Length + SHA256.HashSizeInBytes;
        if (bytes.Length < head + sizeof(int) || !bytes.AsSpan().StartsWith(s_magic)
            || !SHA256.HashData(bytes.AsSpan(head)).AsSpan().SequenceEqual(bytes.AsSpan(s_magic.Length, SHA256.HashSizeInBytes)))
            return null;
        var rest = bytes.AsSpan(head);
        var length = BitConverter.ToInt32(rest);
        return (rest[(sizeof(int) + length)..].ToArray(), Encoding.UTF8.GetString(rest.Slice(sizeof(int), length)));
    }

    /// <summary>Keeps a binary. A disk that refuses it costs the saving and nothing else.</summary>
    public void Write(string hash, byte[] image, string log)
    {
        var remarks = Encoding.UTF8.GetBytes(log);
        byte[] rest = [.. BitConverter.GetBytes(remarks.Length), .. remarks, .. image];
        try
        {
            WholeFile.WriteBytes(PathOf(hash), [.. s_magic, .. SHA256.HashData(rest), .. rest], durable: false);
        }
        catch (Exception error) when (error is InputException or IOException or UnauthorizedAccessException)
        {
        }
    }
}
