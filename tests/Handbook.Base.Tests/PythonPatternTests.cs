using System.Text.RegularExpressions;

namespace Handbook.Base.Tests;

public sealed class PythonPatternTests
{
    [Theory]
    [InlineData(@"(?P<first>\w+) (?P=first)\Z", @"(?<first>\w+) \k<first>\z")]
    [InlineData(@"\\Z \(?P<x> [$]", @"\\Z \(?P<x> [$]")]
    [InlineData(@"a\\\Z", @"a\\\z")]
    public void An_expression_gets_the_words_that_it_has_here(string python, string here) => Assert.Equal(here, PythonPattern.Of(python));

    [Theory]
    [InlineData(@"(a)(b)", @"\2\1", "ab", "ba")]
    [InlineData(@"(?P<x>a)b", @"<\g<x>>\g<1>", "ab", "<a>a")]
    [InlineData("a", "$1$&", "ab", "$1$&b")]
    [InlineData("(a)", @"\\1\n\1", "ab", "\\1\nab")]
    public void What_is_put_in_its_place_is_what_Python_puts_there(string pattern, string replacement, string text, string expected) =>
        Assert.Equal(expected, Regex.Replace(text, PythonPattern.Of(pattern), PythonPattern.Replacement(replacement)));
}
