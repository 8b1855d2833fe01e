using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;

namespace Handbook.Server;

/// <summary>Compares the key of a request with the server's, in a time that says nothing of how much of it is right.</summary>
internal sealed class ApiKey(string key)
{
    private const string Scheme = "Bearer ";
    private readonly byte[] _hash = SHA256.HashData(Encoding.UTF8.GetBytes(key));

    /// <exception cref="ApiException">It is missing or wrong.</exception>
    public void Require(HttpRequest request)
    {
        var said = request.Headers.Authorization.ToString();
        if (!said.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
            throw new ApiException(401, "there is no API key; send the header `Authorization: Bearer KEY`", "authentication_error",
                code: "missing_api_key");
        // Hashes have one length, whatever was sent.
        if (!CryptographicOperations.FixedTimeEquals(_hash, SHA256.HashData(Encoding.UTF8.GetBytes(said[Scheme.Length..].Trim()))))
            throw new ApiException(401, "the API key is wrong", "authentication_error", code: "invalid_api_key");
    }
}
