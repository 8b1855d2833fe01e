namespace Handbook.Text.Templates;

/// <summary>Tokens → expressions. From loose to tight: if-else, or, and, not, comparisons, + −, ~, * / // %, **, unary,
/// postfix, filters and tests.</summary>
internal sealed partial class Parser
{
    private static readonly string[] _comparisons = ["==", "!=", "<", "<=", ">", ">="];

    private Expression ParseExpression(bool conditional = true)
    {
        Nest();
        return conditional ? ParseConditional() : ParseOr();
    }

    private Expression ParseConditional()
    {
        var start = Current.At;
        var known = _unknown.Count;
        var outer = _soft;
        // Whether this is an inline if is known only after its first part, so what that part lacks is judged late.
        _soft = true;
        var then = ParseOr();
        var isConditional = false;
        while (IsName("if"))
        {
            isConditional = true;
            var at = Next().At;
            var condition = ParseOr();
            then = new ConditionalNode(condition, then, SkipName("else") ? ParseConditional() : null,
                _source.AsSpan(0, start).Count('\n') + 1, at);
        }
        _soft = outer;
        if (isConditional)
            _unknown.RemoveRange(known, _unknown.Count - known);
        else if (!outer && _unknown.Count > known)
            throw Error(_unknown[known].Message, _unknown[known].At);
        return then;
    }

    private Expression ParseOr()
    {
        var left = ParseAnd();
        while (IsName("or"))
        {
            var at = Next().At;
            left = new OrNode(left, ParseAnd(), at);
        }
        return left;
    }

    private Expression ParseAnd()
    {
        var left = ParseNot();
        while (IsName("and"))
        {
            var at = Next().At;
            left = new AndNode(left, ParseNot(), at);
        }
        return left;
    }

    private Expression ParseNot()
    {
        Nest();
        if (!IsName("not"))
            return ParseCompare();
        var at = Next().At;
        return new NotNode(ParseNot(), at);
    }

    private Expression ParseCompare()
    {
        var first = ParseSum();
        var rest = new List<(string, Expression)>();
        var at = Current.At;
        while (true)
        {
            if (Current.Kind == TokenKind.Operator && _comparisons.Contains(Current.Text))
                rest.Add((Next().Text, ParseSum()));
            else if (SkipName("in"))
                rest.Add(("in", ParseSum()));
            else if (IsName("not") && Look is { Kind: TokenKind.Name, Text: "in" })
            {
                Next();
                Next();
                rest.Add(("not in", ParseSum()));
            }
            else
                return rest.Count == 0 ? first : new CompareNode(first, [.. rest], at);
        }
    }

    private Expression ParseSum()
    {
        var left = ParseConcat();
        while (IsOperator("+") || IsOperator("-"))
        {
            var sign = Next();
            left = new BinaryNode(left, ParseConcat(), sign.Text == "+" ? Operators.Add : Operators.Subtract, sign.At);
        }
        return left;
    }

    private Expression ParseConcat()
    {
        var first = ParseProduct();
        if (!IsOperator("~"))
            return first;
        var at = Current.At;
        var parts = new List<Expression> { first };
        while (SkipOperator("~"))
            parts.Add(ParseProduct());
        return new ConcatNode([.. parts], at);
    }

    private Expression ParseProduct()
    {
        var left = ParsePower();
        while (Current is { Kind: TokenKind.Operator, Text: "*" or "/" or "//" or "%" })
        {
            var sign = Next();
            left = new BinaryNode(left, ParsePower(),
                sign.Text switch
                {
                    "*" => Operators.Multiply,
                    "/" => Operators.Divide,
                    "//" => Operators.FloorDivide,
                    _ => Operators.Modulo
                }, sign.At);
        }
        return left;
    }

    private Expression ParsePower()
    {
        var left = ParseUnary();
        while (IsOperator("**"))
        {
            var at = Next().At;
            left = new BinaryNode(left, ParseUnary(), Operators.Power, at);
        }
        return left;
    }

    private Expression ParseUnary(bool filters = true)
    {
        Nest();
        Expression node;
        if (IsOperator("-") || IsOperator("+"))
        {
            var sign = Next();
            node = new UnaryNode(ParseUnary(filters: false), sign.Text == "-" ? Operators.Negate : Operators.Plus, sign.At);
        }
        else
            node = ParsePrimary();
        node = ParsePostfix(node);
        return filters ? ParseFilters(node) : node;
    }

    private Expression ParsePrimary()
    {
        var token = Current;
        switch (token.Kind)
        {
            case TokenKind.Name:
                Next();
                return ParseName(token);
            case TokenKind.String:
                var text = Next().Text;
                while (Current.Kind == TokenKind.String)
                    text += Next().Text;
                return new ConstantNode(text, token.At);
            case TokenKind.Integer or TokenKind.Float:
                Next();
                return new ConstantNode(token.Number, token.At);
            case TokenKind.Operator when token.Text == "(":
                Next();
                var inner = ParseTuple(parenthesised: true);
                ExpectOperator(")");
                return inner;
            case TokenKind.Operator when token.Text == "[":
                Next();
                var items = ParseItems("]", () => ParseExpression());
                return new ListLiteralNode([.. items], token.At);
            case TokenKind.Operator when token.Text == "{":
                Next();
                var pairs = ParseItems("}", () =>
                {
                    var key = ParseExpression();
                    ExpectOperator(":");
                    return (key, ParseExpression());
                });
                return new DictLiteralNode([.. pairs], token.At);
            default:
                throw Error(token.Kind == TokenKind.End ? "unexpected end of template"
                    : $"unexpected {PyRepr.Quote(token.Describe())}", token.At);
        }
    }

    private Expression ParseName(Token token)
    {
        switch (token.Text)
        {
            case "true" or "True":
                return new ConstantNode(Boxes.True, token.At);
            case "false" or "False":
                return new ConstantNode(Boxes.False, token.At);
            case "none" or "None":
                return new ConstantNode(null, token.At);
            case "caller" or "kwargs" or "varargs":
                foreach (var specials in _macroSpecials)
                    specials.Add(token.Text);
                break;
        }
        if (!_assigned.Contains(token.Text))
            _features.Variables.Add(token.Text);
        return new NameNode(token.Text, Id(token.Text), token.At);
    }

    private List<T> ParseItems<T>(string close, Func<T> parse)
    {
        var items = new List<T>();
        while (!IsOperator(close))
        {
            if (items.Count > 0)
                ExpectOperator(",");
            if (IsOperator(close))
                break;
            items.Add(parse());
        }
        ExpectOperator(close);
        return items;
    }

    /// <summary>One expression, or a tuple where there are commas.</summary>
    private Expression ParseTuple(bool conditional = true, bool stopAtRecursive = false, bool parenthesised = false)
    {
        var at = Current.At;
        var items = new List<Expression>();
        var isTuple = false;
        while (true)
        {
            if (items.Count > 0)
                ExpectOperator(",");
            if (Current.Kind is TokenKind.VariableEnd or TokenKind.BlockEnd || IsOperator(")") || (stopAtRecursive && IsName("recursive")))
                break;
            items.Add(ParseExpression(conditional));
            if (!IsOperator(","))
                break;
            isTuple = true;
        }
        if (!isTuple && items.Count == 1)
            return items[0];
        if (!isTuple && !parenthesised)
            throw Error($"Expected an expression, got {PyRepr.Quote(Current.Describe())}", Current.At);
        return new TupleLiteralNode([.. items], at);
    }

    private Expression ParsePostfix(Expression node)
    {
        while (true)
        {
            if (IsOperator("."))
                node = ParseDot(node);
            else if (IsOperator("["))
                node = ParseSubscript(node);
            else if (IsOperator("("))
                node = ParseCall(node);
            else
                return node;
        }
    }

    private Expression ParseFilters(Expression node)
    {
        while (true)
        {
            if (IsOperator("|"))
                node = ParseFilter(node)!;
            else if (IsName("is"))
                node = ParseTest(node);
            else if (IsOperator("("))
                node = ParseCall(node);
            else
                return node;
        }
    }

    private CallNode ParseCall(Expression callee)
    {
        var at = Current.At;
        return new(callee, ParseArguments(), at);
    }

    private Expression ParseDot(Expression owner)
    {
        var at = Next().At;
        var token = Next();
        return token.Kind switch
        {
            TokenKind.Name => new AttributeNode(owner, token.Text, at),
            TokenKind.Integer => new ItemNode(owner, new ConstantNode(token.Number, token.At), at),
            _ => throw Error("expected name or number", token.At),
        };
    }

    private ItemNode ParseSubscript(Expression owner)
    {
        var at = Next().At;
        var parts = new List<Expression>();
        while (!IsOperator("]"))
        {
            if (parts.Count > 0)
                ExpectOperator(",");
            parts.Add(ParseIndex());
        }
        Next();
        return new(owner, parts.Count == 1 ? parts[0] : new TupleLiteralNode([.. parts], at), at);
    }

    private Expression ParseIndex()
    {
        var at = Current.At;
        Expression? start = null, stop = null, step = null;
        if (!IsOperator(":"))
        {
            start = ParseExpression();
            if (!IsOperator(":"))
                return start;
        }
        Next();
        if (!IsOperator(":") && !IsOperator("]") && !IsOperator(","))
            stop = ParseExpression();
        if (SkipOperator(":") && !IsOperator("]") && !IsOperator(","))
            step = ParseExpression();
        return new SliceNode(start, stop, step, at);
    }

    private CallArguments ParseArguments()
    {
        var at = Current.At;
        ExpectOperator("(");
        var positional = new List<Expression>();
        var named = new List<(string Name, Expression)>();
        Expression? starred = null, doubleStarred = null;
        for (var first = true; !IsOperator(")"); first = false)
        {
            if (!first)
            {
                ExpectOperator(",");
                if (IsOperator(")"))
                    break;
            }
            if (SkipOperator("*"))
            {
                Ensure(starred is null && doubleStarred is null);
                starred = ParseExpression();
            }
            else if (SkipOperator("**"))
            {
                Ensure(doubleStarred is null);
                doubleStarred = ParseExpression();
            }
            else if (Current.Kind == TokenKind.Name && Look is { Kind: TokenKind.Operator, Text: "=" })
            {
                Ensure(doubleStarred is null);
                var name = Next();
                Next();
                if (named.Exists(pair => pair.Name == name.Text))
                    throw Error($"keyword argument repeated: {name.Text}", name.At);
                named.Add((name.Text, ParseExpression()));
            }
            else
            {
                Ensure(starred is null && doubleStarred is null && named.Count == 0);
                positional.Add(ParseExpression());
            }
        }
        ExpectOperator(")");
        return positional.Count == 0 && named.Count == 0 && starred is null && doubleStarred is null ? CallArguments.None
            : new([.. positional], [.. named], starred, doubleStarred);

        void Ensure(bool holds)
        {
            if (!holds)
                throw Error("invalid syntax for function call expression", at);
        }
    }

    /// <summary>One or more filters; in a filter block the first comes without its bar.</summary>
    private Expression? ParseFilter(Expression? node, bool started = false)
    {
        while (started || IsOperator("|"))
        {
            if (!started)
                Next();
            started = false;
            var token = ExpectName();
            var name = DottedName(token);
            _features.Filters.Add(name);
            var filter = new FilterNode(node, name, _filters.GetValueOrDefault(name),
                IsOperator("(") ? ParseArguments() : CallArguments.None, token.At);
            if (!filter.IsKnown)
                Unknown($"No filter named {PyRepr.Quote(name)}.", token.At);
            node = filter;
        }
        return node;
    }

    private Expression ParseTest(Expression node)
    {
        var at = Next().At;
        var negated = SkipName("not");
        var token = ExpectName();
        var name = DottedName(token);
        _features.Tests.Add(name);
        var arguments = CallArguments.None;
        if (IsOperator("("))
            arguments = ParseArguments();
        else if ((Current.Kind is TokenKind.String or TokenKind.Integer or TokenKind.Float || IsOperator("[") || IsOperator("{")
            || Current.Kind == TokenKind.Name)
            && !IsName("else") && !IsName("or") && !IsName("and"))
        {
            if (IsName("is"))
                throw Error("You cannot chain multiple tests with is", Current.At);
            arguments = new([ParsePostfix(ParsePrimary())], [], null, null);
        }
        var test = new TestNode(node, name, arguments, at);
        if (!test.IsKnown)
            Unknown($"No test named {PyRepr.Quote(name)}.", token.At);
        return negated ? new NotNode(test, at) : test;
    }

    private string DottedName(Token first)
    {
        var name = first.Text;
        while (SkipOperator("."))
            name += "." + ExpectName().Text;
        return name;
    }

    private void Unknown(string message, int at)
    {
        if (!_soft)
            throw Error(message, at);
        _unknown.Add((message, at));
    }

    /// <summary>Where an assignment goes: a name, names with commas or in brackets, or a field of a namespace.</summary>
    private Target ParseTarget(bool stopAtIn = false, bool namespaces = false)
    {
        var at = Current.At;
        var parts = new List<Target>();
        while (true)
        {
            parts.Add(ParseTargetPart(namespaces));
            if (!SkipOperator(","))
                return parts.Count == 1 ? parts[0] : new TupleTarget([.. parts], at);
            if (Current.Kind == TokenKind.BlockEnd || IsOperator("=") || IsOperator(")") || (stopAtIn && IsName("in")))
                return new TupleTarget([.. parts], at);
        }
    }

    private Target ParseTargetPart(bool namespaces)
    {
        if (SkipOperator("("))
        {
            var inner = ParseTarget(namespaces: namespaces);
            ExpectOperator(")");
            return inner;
        }
        var token = Current;
        if (token.Kind != TokenKind.Name)
            throw Error(token.Kind switch
            {
                TokenKind.String or TokenKind.Integer or TokenKind.Float => "can't assign to 'const'",
                TokenKind.BlockEnd or TokenKind.VariableEnd => $"Expected an expression, got {PyRepr.Quote(token.Describe())}",
                _ => $"unexpected {PyRepr.Quote(token.Describe())}",
            }, token.At);
        Next();
        CheckAssignable(token);
        if (namespaces && SkipOperator("."))
            return new NamespaceTarget(Id(token.Text), ExpectName().Text, token.At);
        _targets.Add(token.Text);
        return new NameTarget(Id(token.Text), token.At);
    }

    private static void CheckAssignable(Token name)
    {
        if (name.Text is "true" or "false" or "none" or "True" or "False" or "None")
            throw Error("can't assign to 'const'", name.At);
    }
}
