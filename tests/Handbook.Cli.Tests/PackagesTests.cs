using System.Text.RegularExpressions;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>What a program outside the repository gets.</summary>
[Trait("speed", "slow")]
public sealed class PackagesTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    [Fact]
    public void The_program_of_the_README_trains_and_chats_from_the_packages_alone()
    {
        var repository = SharedFiles.Repository;
        SmallModel.Make(_handbook);
        _handbook.Write("rows.jsonl",
            string.Concat(Enumerable.Repeat(
            """{"messages": [{"role": "user", "content": "What is the opposite of cold?"}, {"role": "assistant", "content": "moon"}]}"""
            + "\n", 8)));
        _handbook.Write("sft.yaml", """
            model_name_or_path: model
            dataset_name: rows.jsonl
            output_dir: run
            learning_rate: 1e-2
            lr_scheduler_type: constant
            per_device_train_batch_size: 4
            max_steps: 30
            logging_steps: 10
            report_to: none
            """);
        var program = Regex.Match(File.ReadAllText(Path.Combine(repository, "README.md")),
            @"## In a program of your own.*?```csharp\n(.*?)```", RegexOptions.Singleline).Groups[1].Value;
        Assert.InRange(program.Split('\n').Count(line => line.Trim().Length > 1), 5, 15);
        _handbook.Write("Program.cs", program);
        _handbook.Write("program.csproj", """
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <Nullable>enable</Nullable>
                <InvariantGlobalization>true</InvariantGlobalization>
                <UseAppHost>false</UseAppHost>
                <RestorePackagesPath>packages</RestorePackagesPath>
              </PropertyGroup>
              <ItemGroup><PackageReference Include="Handbook" Version="0.1.0" /></ItemGroup>
            </Project>
            """);
        // The packages of this build, and those of others that this machine has restored already: no network is needed.
        var known = Environment.GetEnvironmentVariable("NUGET_PACKAGES")
            ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        _handbook.Write("nuget.config", $"""
            <configuration>
              <packageSources><clear /><add key="here" value="feed" /><add key="known" value="{known}" /></packageSources>
            </configuration>
            """);
        // Not the build of a repository around it, and no settings of one.
        _handbook.Write("Directory.Build.props", "<Project />");
        _handbook.Write("Directory.Packages.props", "<Project />");

        Succeed("bash", Path.Combine(repository, "tools", "pack.sh"), Path.Combine(_handbook.Folder, "feed"));
        Succeed("bash", "-c", $"source '{repository}/tools/env.sh' && dotnet build program.csproj -c Release -o out -v q -nologo");
        var said = Succeed("dotnet", "exec", "out/program.dll").Output;

        Assert.Matches(@"step 10: loss \d+\.\d{3}\nstep 20: loss \d+\.\d{3}\nstep 30: loss \d+\.\d{3}\n", said);
        Assert.EndsWith("\nmoon\n", said);
        Assert.True(File.Exists(Path.Combine(_handbook.Folder, "run", "model.safetensors")));
    }

    private Outcome Succeed(string program, params string[] words)
    {
        var outcome = _handbook.RunOther(program, words);
        Assert.True(outcome.Code == 0, $"{program} {string.Join(' ', words)}\n{outcome.Output}{outcome.Error}");
        return outcome;
    }

    public void Dispose() => _handbook.Dispose();
}
