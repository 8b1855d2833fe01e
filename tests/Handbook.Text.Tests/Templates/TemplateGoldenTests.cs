using Handbook.Testing;

namespace Handbook.Text.Tests.Templates;

[Trait("kind", "golden")]
public sealed class TemplateGoldenTests
{
    public static TheoryData<string> GoldenFiles()
    {
        var folder = Path.Combine(SharedFiles.Root ?? "", "chat-templates", "golden");
        return Directory.Exists(folder)
            ? [.. Directory.GetFiles(folder, "*.jsonl").Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal)]
            : ["(absent)"];
    }

    [Theory, MemberData(nameof(GoldenFiles))]
    public void Template_renders_every_conversation_as_Jinja2_does(string golden)
    {
        var folder = SharedFiles.Need("chat-templates");
        AllAgree(TemplateGolden.RunTemplate(folder, Path.Combine(folder, "golden", golden)));
    }

    [Fact]
    public void Snippets_give_what_Jinja2_gives() =>
        AllAgree(TemplateGolden.RunUnits(SharedFiles.Need("chat-templates", "jinja-units.json")));

    [Fact]
    public void Our_own_snippets_give_what_Jinja2_gives() =>
        AllAgree(TemplateGolden.RunUnits(Path.Combine(SharedFiles.Repository, "tests", "Handbook.Text.Tests", "Templates",
        "snippets.json")));

    [Fact]
    public void Templates_of_the_hub_models_render_as_transformers_does() =>
        AllAgree(TemplateGolden.RunHubCases(SharedFiles.Need("models", "hf-architectures", "chat_template_cases.json")));

    private static void AllAgree(IEnumerable<TemplateGolden.Result> results)
    {
        var all = results.ToList();
        var problems = all.Where(result => result.Problem is not null).Select(result => $"{result.Case}\n    {result.Problem}").ToList();
        Assert.NotEmpty(all);
        Assert.True(problems.Count == 0, $"{problems.Count} of {all.Count} differ:\n{string.Join('\n', problems)}");
    }
}
