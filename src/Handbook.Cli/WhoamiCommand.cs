using System.CommandLine;
using Handbook.Base;
using Handbook.Hub;

namespace Handbook.Cli;

/// <summary><c>handbook whoami</c></summary>
internal static class WhoamiCommand
{
    public static Command Create()
    {
        var command = new Command("whoami", "Tell whose token the hub is asked with, and what it may do\n\n"
            + "The token is HF_TOKEN of the environment, or what `handbook login` keeps.");
        command.SetAction(Run);
        return command;
    }

    private static async Task<int> Run(ParseResult args, CancellationToken cancel)
    {
        var settings = HubWords.Online();
        if (settings.Token is null)
            throw new InputException("there is no token: neither HF_TOKEN nor a stored one", fix: "`handbook login` stores one");
        using var client = new HubClient(settings);
        var identity = await client.WhoAmI(cancel);
        Console.WriteLine(identity.Name);
        if (identity.Organizations.Count > 0)
            Console.WriteLine($"organizations: {string.Join(", ", identity.Organizations)}");
        var role = identity.Role is { } named ? $", role {named}" : "";
        Console.WriteLine($"token: {identity.TokenName ?? "without a name"}{role}, from {settings.Token.Source}");
        return ExitCode.Ok;
    }
}
