using System.Reflection;
using System.Text;
using System.Xml.Linq;

namespace Handbook.Recipes;

/// <summary>The summaries of the option records, from the documentation file that the compiler writes beside the assembly.</summary>
internal static class KeyDocs
{
    private static readonly Lazy<IReadOnlyDictionary<string, XElement>> s_summaries = new(() =>
    {
        var file = Path.Combine(AppContext.BaseDirectory, "Handbook.xml");
        if (!File.Exists(file))
            throw new InputException($"{file} is missing: it holds the meaning of every key", fix: "build the handbook again, or copy the file beside the program");
        return XDocument.Load(file, LoadOptions.PreserveWhitespace).Descendants("member").Where(member => member.Element("summary") is not null)
            .ToDictionary(member => member.Attribute("name")!.Value, member => member.Element("summary")!);
    });

    /// <param name="code">Whether code keeps its back quotes, as in Markdown.</param>
    public static string Summary(PropertyInfo property, bool code) => Summary($"P:{property.DeclaringType!.FullName}.{property.Name}", code);

    /// <summary>What a value of an enumeration means; empty where nobody says.</summary>
    public static string Summary(FieldInfo value, bool code) => Summary($"F:{value.DeclaringType!.FullName}.{value.Name}", code);

    private static string Summary(string member, bool code)
    {
        var text = new StringBuilder();
        if (s_summaries.Value.TryGetValue(member, out var summary))
            foreach (var node in summary.Nodes())
                text.Append(node is XElement { Name.LocalName: "c" } quoted && code ? $"`{quoted.Value}`" : node is XElement element ? element.Value : ((XText)node).Value);
        return string.Join(' ', text.ToString().Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
    }
}
