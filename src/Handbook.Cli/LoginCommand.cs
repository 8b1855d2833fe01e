using System.CommandLine;
using System.Text;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Hub;

namespace Handbook.Cli;

/// <summary><c>handbook login [--token-file FILE]</c></summary>
internal static class LoginCommand
{
    private const int MostOfToken = 8192;

    private static readonly Option<string?> s_file = new("--token-file")
    {
        Description = "read the token from a file; without it from the terminal, which does not show it, or from standard input",
        HelpName = "FILE"
    };

    public static Command Create()
    {
        var command = new Command("login",
            "Keep a token of the hub on this machine: for private and gated repositories, and for publishing\n\n"
            + "A token is made at https://huggingface.co/settings/tokens: one for reading is enough to download, publishing needs one that may\n"
            + "write. It is kept where the Python client keeps it (token in HF_HOME, or HF_TOKEN_PATH), readable by you alone, and sent to the\n"
            + "hub and to nobody else. HF_TOKEN in the environment goes before it.\n\nExamples:\n"
            + "  handbook login\n"
            + "  handbook login --token-file secret.txt\n"
            + "  echo $TOKEN | handbook login") { s_file };
        command.SetAction(Run);
        return command;
    }

    private static async Task<int> Run(ParseResult args, CancellationToken cancel)
    {
        var token = HubToken.Of(args.GetValue(s_file) is { } file ? FromFile(file) : Console.IsInputRedirected ? FromInput()
            : FromTerminal(),
            args.GetValue(s_file) ?? "login");
        var settings = HubSettings.FromEnvironment(token);
        HubIdentity? identity = null;
        if (!settings.IsOffline)
            try
            {
                using var client = new HubClient(settings);
                identity = await client.WhoAmI(cancel);
            }
            catch (HubException problem) when (problem.MayPass)
            {
                Console.Error.WriteLine($"warning: {problem.What}; the token is kept without having been tried");
            }
        var path = token.Save();
        Console.WriteLine(identity is null ? $"the token is kept in {path}" : $"logged in as {identity.Name}"
            + $"{(identity.Role is { } role ? $" with a token of the role {role}" : "")}; it is kept in {path}");
        foreach (var name in (string[])["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
            if (HubCache.Variable(name) is not null)
                Console.Error.WriteLine($"note: {name} is set, and goes before the token that is kept");
        return ExitCode.Ok;
    }

    private static string FromFile(string file)
    {
        if (!File.Exists(file))
            throw new InputException($"--token-file: {file} does not exist", fix: "name a file that holds the token and nothing else");
        return new FileInfo(file).Length <= MostOfToken ? File.ReadAllText(file)
            : throw new InputException($"--token-file: {file} is too long to be a token",
                fix: "name a file that holds the token and nothing else");
    }

    private static string FromInput()
    {
        var text = new char[MostOfToken];
        return new string(text, 0, Console.In.ReadBlock(text, 0, text.Length));
    }

    private static string FromTerminal()
    {
        Console.Error.Write("token (it is not shown): ");
        var text = new StringBuilder();
        while (Console.ReadKey(intercept: true) is var key && key.Key != ConsoleKey.Enter)
            if (key.Key == ConsoleKey.Backspace)
                text.Length = Math.Max(0, text.Length - 1);
            else if (!char.IsControl(key.KeyChar) && text.Length < MostOfToken)
                text.Append(key.KeyChar);
        Console.Error.WriteLine();
        return text.ToString();
    }
}
