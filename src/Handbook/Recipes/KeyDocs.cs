using System.Collections.Concurrent;
using System.Reflection;
using System.Text;
using System.Xml.Linq;
using Handbook.Base;

namespace Handbook.Recipes;

/// <summary>The summaries of the option records, from the documentation file that the compiler writes beside the assembly.</summary>
internal static class KeyDocs
{
    private static readonly ConcurrentDictionary<Assembly, IReadOnlyDictionary<string, XElement>> s_summaries = new();

    /// <param name="code">Whether code keeps its back quotes, as in Markdown.</param>
    public static string Summary(PropertyInfo property, bool code) => Summary(property, 'P', code);

    /// <summary>What a value of an enumeration means; empty where nobody says.</summary>
    public static string Summary(FieldInfo value, bool code) => Summary(value, 'F', code);

    private static string Summary(MemberInfo member, char kind, bool code)
    {
        var text = new StringBuilder();
        if (s_summaries.GetOrAdd(member.DeclaringType!.Assembly, Read)
            .TryGetValue($"{kind}:{member.DeclaringType.FullName}.{member.Name}", out var summary))
            foreach (var node in summary.Nodes())
                text.Append(node is XElement { Name.LocalName: "c" } quoted && code ? $"`{quoted.Value}`" : node is XElement element
                    ? element.Value : ((XText)node).Value);
        return string.Join(' ', text.ToString().Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
    }

    private static Dictionary<string, XElement> Read(Assembly assembly)
    {
        var file = Path.Combine(AppContext.BaseDirectory, $"{assembly.GetName().Name}.xml");
        if (!File.Exists(file))
            throw new InputException($"{file} is missing: it holds the meaning of every key",
                fix: "build the handbook again, or copy the file beside the program");
        return XDocument.Load(file, LoadOptions.PreserveWhitespace).Descendants("member")
            .Where(member => member.Element("summary") is not null)
            .ToDictionary(member => member.Attribute("name")!.Value, member => member.Element("summary")!);
    }
}
