namespace Handbook.Cli.Tests.Cases;

/// <summary>Names the folder of <c>HANDBOOK_SHARED/cases</c> whose right outcome a test asserts.</summary>
[AttributeUsage(AttributeTargets.Method, AllowMultiple = true)]
internal sealed class CaseAttribute(string folder) : Attribute
{
    /// <summary>The folder's name, e.g. <c>01-parquet-nan</c>.</summary>
    public string Folder { get; } = folder;
}
