namespace Handbook.Text.Templates;

/// <summary>A template ready to run.</summary>
internal sealed record ParsedTemplate(Statement[] Body, string[] Names, Dictionary<string, BlockNode> Blocks, TemplateFeatures Features);

/// <summary>What a template uses, for <c>handbook template check</c>.</summary>
internal sealed record TemplateFeatures
{
    public SortedSet<string> Tags { get; } = new(StringComparer.Ordinal);

    public SortedSet<string> Filters { get; } = new(StringComparer.Ordinal);

    public SortedSet<string> Tests { get; } = new(StringComparer.Ordinal);

    public SortedSet<string> Variables { get; } = new(StringComparer.Ordinal);
}

/// <summary>Tokens → statements, with the grammar of Jinja 3.1 plus break, continue and generation.
/// Expressions are in the other half.</summary>
internal sealed partial class Parser
{
    private readonly List<Token> _tokens;
    private readonly Dictionary<string, int> _names = [];
    private readonly Dictionary<string, BlockNode> _blocks = [];
    private readonly TemplateFeatures _features = new();
    private readonly Stack<string> _openTags = new();
    private readonly Stack<string[]> _endTags = new();
    // Names the template has given values to so far; what it reads of others are its variables.
    private readonly HashSet<string> _assigned = [];
    private readonly HashSet<string> _targets = [];
    private readonly Stack<HashSet<string>> _macroSpecials = new();
    // Filters and tests nobody knows are an error at once, except inside if: there a template may ask first.
    private readonly List<(string Message, int At)> _unknown = [];
    private int _at;
    private int _loops;
    private int _closures;
    private bool _soft;

    private readonly string _source;
    private readonly IReadOnlyDictionary<string, Function> _filters;

    private Parser(string source, bool isChat) =>
        (_source, _tokens, _filters) = (source, Lexer.Read(source, trims: isChat), isChat ? Filters.All : Filters.OfTexts);

    /// <param name="isChat">A template of a conversation: as transformers sets Jinja up for it, blanks around blocks are dropped.
    /// Otherwise as the Python evaluation harness does, with its filters.</param>
    public static ParsedTemplate Parse(string source, bool isChat = true)
    {
        var parser = new Parser(source, isChat);
        var body = parser.ParseBody([]);
        parser._features.Variables.ExceptWith(Globals.All.Keys);
        parser._features.Variables.ExceptWith(["loop", "self", "super", "caller", "kwargs", "varargs"]);
        return new(body, [.. parser._names.OrderBy(name => name.Value).Select(name => name.Key)], parser._blocks, parser._features);
    }

    private Token Current => _tokens[_at];

    private Token Look => _tokens[Math.Min(_at + 1, _tokens.Count - 1)];

    private Token Next()
    {
        var token = Current;
        if (token.Kind != TokenKind.End)
            _at++;
        return token;
    }

    private bool IsOperator(string sign) => Current.Kind == TokenKind.Operator && Current.Text == sign;

    private bool IsName(string name) => Current.Kind == TokenKind.Name && Current.Text == name;

    private bool SkipOperator(string sign)
    {
        var found = IsOperator(sign);
        if (found)
            Next();
        return found;
    }

    private bool SkipName(string name)
    {
        var found = IsName(name);
        if (found)
            Next();
        return found;
    }

    private void ExpectOperator(string sign)
    {
        if (!SkipOperator(sign))
            throw Unexpected(sign);
    }

    private void ExpectName(string name)
    {
        if (!SkipName(name))
            throw Unexpected(name);
    }

    private Token ExpectName() => Current.Kind == TokenKind.Name ? Next() : throw Unexpected("name");

    private void Expect(TokenKind kind)
    {
        if (Current.Kind != kind)
            throw Unexpected(new Token(kind, "", null, 0).Describe());
        Next();
    }

    private TemplateSyntaxException Unexpected(string expected) => Current.Kind == TokenKind.End
        ? Error($"unexpected end of template, expected {PyRepr.Quote(expected)}.", Current.At)
        : Error($"expected token {PyRepr.Quote(expected)}, got {PyRepr.Quote(Current.Describe())}", Current.At);

    private static TemplateSyntaxException Error(string message, int at) => new(message, at);

    private int Id(string name)
    {
        if (!_names.TryGetValue(name, out var id))
            _names.Add(name, id = _names.Count);
        return id;
    }

    /// <summary>Statements up to one of the end tags, whose block has been opened when this returns; without end
    /// tags up to the end.</summary>
    private Statement[] ParseBody(string[] ends)
    {
        var body = new List<Statement>();
        if (ends.Length > 0)
            _endTags.Push(ends);
        while (Current.Kind != TokenKind.End)
        {
            switch (Current.Kind)
            {
                case TokenKind.Data:
                    body.Add(new TextNode(Next().Text));
                    break;
                case TokenKind.VariableBegin:
                    Next();
                    body.Add(new PrintNode(ParseTuple()));
                    Expect(TokenKind.VariableEnd);
                    break;
                default:
                    Next();
                    if (Current.Kind == TokenKind.Name && ends.Contains(Current.Text))
                    {
                        _endTags.Pop();
                        return [.. body];
                    }
                    ParseStatement(body);
                    Expect(TokenKind.BlockEnd);
                    break;
            }
        }
        return ends.Length == 0 ? [.. body] : throw UnknownTag(null, Current.At);
    }

    /// <summary>The body of a block tag: closes the tag, reads up to an end tag and takes that name.</summary>
    private Statement[] ParseBlock(params string[] ends)
    {
        SkipOperator(":");
        Expect(TokenKind.BlockEnd);
        return ParseBody(ends);
    }

    private Statement[] ParseWholeBlock(string end)
    {
        var body = ParseBlock(end);
        Next();
        return body;
    }

    private TemplateSyntaxException UnknownTag(string? name, int at)
    {
        var message = name is null ? "Unexpected end of template." : $"Encountered unknown tag {PyRepr.Quote(name)}.";
        if (_endTags.TryPeek(out var ends))
        {
            var looking = string.Join(" or ", ends.Select(PyRepr.Quote));
            message += name is not null && _endTags.Any(tags => tags.Contains(name))
                ? $" You probably made a nesting mistake. Jinja is expecting this tag, but currently looking for {looking}."
                : $" Jinja was looking for the following tags: {looking}.";
        }
        if (_openTags.TryPeek(out var open))
            message += $" The innermost block that needs to be closed is {PyRepr.Quote(open)}.";
        return Error(message, at);
    }

    private void ParseStatement(List<Statement> to)
    {
        Nest();
        if (Current.Kind != TokenKind.Name)
            throw Error("tag name expected", Current.At);
        var tag = Current;
        _openTags.Push(tag.Text);
        _features.Tags.Add(tag.Text);
        Next();
        switch (tag.Text)
        {
            case "if":
                to.Add(ParseIf());
                break;
            case "for":
                to.Add(ParseFor(tag.At));
                break;
            case "set":
                to.Add(ParseSet());
                break;
            case "macro":
                to.Add(ParseMacro());
                break;
            case "call":
                to.Add(ParseCallBlock(tag.At));
                break;
            case "generation":
                _closures++;
                to.Add(new GenerationNode(InFunction(() => ParseWholeBlock("endgeneration"))));
                break;
            case "break" or "continue":
                if (_loops == 0)
                    throw Error(tag.Text == "break" ? "'break' outside loop" : "'continue' not properly in loop", tag.At);
                to.Add(new JumpNode(tag.Text == "break" ? Flow.Break : Flow.Continue));
                break;
            case "filter":
                to.Add(ParseFilterBlock());
                break;
            case "with":
                to.Add(ParseWith());
                break;
            case "autoescape":
                var escape = ParseExpression();
                to.Add(new AutoEscapeNode(escape, InScope(() => ParseWholeBlock("endautoescape"))));
                break;
            case "print":
                for (var first = true; Current.Kind != TokenKind.BlockEnd; first = false)
                {
                    if (!first)
                        ExpectOperator(",");
                    to.Add(new PrintNode(ParseExpression()));
                }
                break;
            case "block":
                to.Add(ParseNamedBlock(tag.At));
                break;
            case "include" or "extends" or "import" or "from":
                ParseLoader(tag.Text);
                to.Add(new LoaderNode(tag.At));
                break;
            default:
                _openTags.Pop();
                _features.Tags.Remove(tag.Text);
                throw UnknownTag(tag.Text, tag.At);
        }
        _openTags.Pop();
    }

    private IfNode ParseIf()
    {
        var branches = new List<(Expression, Statement[])>();
        var otherwise = Array.Empty<Statement>();
        var outer = _soft;
        _soft = true;
        while (true)
        {
            var condition = ParseTuple(conditional: false);
            branches.Add((condition, ParseBlock("elif", "else", "endif")));
            var end = Next().Text;
            if (end == "elif")
                continue;
            if (end == "else")
                otherwise = ParseWholeBlock("endif");
            break;
        }
        _soft = outer;
        return new([.. branches], otherwise);
    }

    private ForNode ParseFor(int at)
    {
        var target = ParseTarget(stopAtIn: true);
        ExpectName("in");
        var items = ParseTuple(conditional: false, stopAtRecursive: true);
        Assign();
        var outerSoft = _soft;
        _soft = false;
        var test = SkipName("if") ? ParseExpression() : null;
        var node = new ForNode(target, items, test, Id("loop"), at) { Recursive = SkipName("recursive") };
        var closures = _closures;
        _loops++;
        node.Body = ParseBlock("endfor", "else");
        _loops--;
        node.KeepsFrames = _closures > closures;
        if (Next().Text == "else")
            node.Otherwise = ParseWholeBlock("endfor");
        _soft = outerSoft;
        return node;
    }

    private Statement ParseSet()
    {
        var target = ParseTarget(namespaces: true);
        if (SkipOperator("="))
        {
            var value = ParseTuple();
            Assign();
            return new SetNode(target, value);
        }
        Assign();
        FilterNode? filter = null;
        if (IsOperator("|"))
            filter = (FilterNode)ParseFilter(null)!;
        return new SetBlockNode(target, filter, InScope(() => ParseWholeBlock("endset")));
    }

    private WithNode ParseWith()
    {
        var variables = new List<(Target, Expression)>();
        while (Current.Kind != TokenKind.BlockEnd)
        {
            if (variables.Count > 0)
                ExpectOperator(",");
            var target = ParseTarget();
            ExpectOperator("=");
            variables.Add((target, ParseExpression()));
        }
        Assign();
        return new([.. variables], InScope(() => ParseWholeBlock("endwith")));
    }

    private FilterBlockNode ParseFilterBlock()
    {
        var filter = (FilterNode)ParseFilter(null, started: true)!;
        return new(filter, InScope(() => ParseWholeBlock("endfilter")));
    }

    private MacroNode ParseMacro()
    {
        var name = ExpectName();
        _assigned.Add(name.Text);
        return ParseFunction(name.Text, "endmacro", ParseSignature());
    }

    private CallBlockNode ParseCallBlock(int at)
    {
        var parameters = IsOperator("(") ? ParseSignature() : [];
        if (ParseExpression() is not CallNode call)
            throw Error("expected call", at);
        return new(call, ParseFunction("caller", "endcall", parameters));
    }

    private MacroNode ParseFunction(string name, string end, MacroParameter[] parameters)
    {
        var at = Current.At;
        _closures++;
        var specials = new HashSet<string>();
        _macroSpecials.Push(specials);
        var node = new MacroNode(name, Id(name), parameters)
        {
            CallerId = Id("caller"),
            KwargsId = Id("kwargs"),
            VarargsId = Id("varargs")
        };
        node.Body = InFunction(() => ParseWholeBlock(end));
        _macroSpecials.Pop();
        node.UsesCaller = specials.Contains("caller");
        if (node.UsesCaller && Array.Find(parameters, parameter => parameter.Name == "caller") is { Default: null })
            throw Error("When defining macros or call blocks the special \"caller\" argument must be omitted or be given a default.", at);
        node.UsesKwargs = specials.Contains("kwargs") && !Array.Exists(parameters, parameter => parameter.Name == "kwargs");
        node.UsesVarargs = specials.Contains("varargs") && !Array.Exists(parameters, parameter => parameter.Name == "varargs");
        return node;
    }

    private MacroParameter[] ParseSignature()
    {
        var parameters = new List<MacroParameter>();
        ExpectOperator("(");
        while (!IsOperator(")"))
        {
            if (parameters.Count > 0)
                ExpectOperator(",");
            var name = ExpectName();
            CheckAssignable(name);
            Expression? otherwise = null;
            if (SkipOperator("="))
                otherwise = ParseExpression();
            else if (parameters.Count > 0 && parameters[^1].Default is not null)
                throw Error("non-default argument follows default argument", name.At);
            if (parameters.Exists(parameter => parameter.Name == name.Text))
                throw Error($"duplicate argument {PyRepr.Quote(name.Text)} in function definition", name.At);
            _assigned.Add(name.Text);
            parameters.Add(new(name.Text, Id(name.Text), otherwise));
        }
        ExpectOperator(")");
        return [.. parameters];
    }

    private BlockNode ParseNamedBlock(int at)
    {
        var name = ExpectName();
        var scoped = SkipName("scoped");
        var required = SkipName("required");
        if (IsOperator("-"))
            throw Error("Block names in Jinja have to be valid Python identifiers and may not contain hyphens, use an underscore instead.",
                Current.At);
        var block = new BlockNode(name.Text, Id("super"), scoped, required, InFunction(() => ParseWholeBlock("endblock")));
        SkipName(name.Text);
        return _blocks.TryAdd(name.Text, block) ? block : throw Error($"block {PyRepr.Quote(name.Text)} defined twice", at);
    }

    /// <summary>The targets read so far have their values from here on.</summary>
    private void Assign()
    {
        _assigned.UnionWith(_targets);
        _targets.Clear();
    }

    private void ParseLoader(string tag)
    {
        ParseExpression();
        if (tag == "include" && IsName("ignore") && Look.Text == "missing")
        {
            Next();
            Next();
        }
        if (tag == "import")
        {
            ExpectName("as");
            _assigned.Add(ExpectName().Text);
        }
        if (tag == "from")
        {
            ExpectName("import");
            do
            {
                if (IsName("with") || IsName("without"))
                    break;
                var name = ExpectName();
                if (name.Text.StartsWith('_'))
                    throw Error("names starting with an underline can not be imported", name.At);
                if (SkipName("as"))
                    name = ExpectName();
                _assigned.Add(name.Text);
            }
            while (SkipOperator(","));
        }
        if ((IsName("with") || IsName("without")) && Look.Text == "context")
        {
            Next();
            Next();
        }
    }

    /// <summary>Parses inside a new scope: unknown filters are errors again.</summary>
    private T InScope<T>(Func<T> parse)
    {
        var outer = _soft;
        _soft = false;
        var result = parse();
        _soft = outer;
        return result;
    }

    /// <summary>Parses what becomes a function of its own: no break out of it.</summary>
    private T InFunction<T>(Func<T> parse)
    {
        var outer = _loops;
        _loops = 0;
        var result = InScope(parse);
        _loops = outer;
        return result;
    }

    private static void Nest()
    {
        if (!System.Runtime.CompilerServices.RuntimeHelpers.TryEnsureSufficientExecutionStack())
            throw Error("the template nests too deeply", 0);
    }
}
