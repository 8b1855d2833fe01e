using System.Runtime.CompilerServices;
using Handbook.Base;
using Handbook.Models.Generation;

namespace Handbook.Models.Constraints;

/// <summary>A grammar over the tokens of one vocabulary; what may come in a state is found once for all answers.</summary>
internal sealed class TokenGrammar(Grammar grammar, TokenTable tokens)
{
    private readonly TokenTable _tokens = tokens;
    private readonly GrammarMachine _machine = new(grammar);
    private readonly ConditionalWeakTable<GrammarMachine.State, ulong[]> _allowed = [];
    private readonly Lock _lock = new();

    /// <summary>Holds one answer to the grammar.</summary>
    /// <param name="stopIds">Tokens that end an answer: they may come where it is whole.</param>
    public ITokenConstraint Begin(IReadOnlyList<int> stopIds) => new Answer(this, stopIds);

    /// <summary>States that were met so far.</summary>
    public int States => _machine.States;

    private ulong[] Allowed(GrammarMachine.State state)
    {
        lock (_lock)
        {
            if (!_allowed.TryGetValue(state, out var allowed))
                _allowed.Add(state, allowed = _tokens.Allowed(_machine, state));
            return allowed;
        }
    }

    private GrammarMachine.State Step(GrammarMachine.State from, byte[] bytes)
    {
        lock (_lock)
        {
            foreach (var value in bytes)
                from = _machine.Step(from, value);
            return from;
        }
    }

    private sealed class Answer(TokenGrammar grammar, IReadOnlyList<int> stopIds) : ITokenConstraint
    {
        private GrammarMachine.State _state = grammar._machine.Start;

        public bool IsComplete => !_state.CanGoOn;

        public void Mask(Span<float> logits)
        {
            var allowed = grammar.Allowed(_state);
            Span<float> ends = stackalloc float[stopIds.Count];
            for (var i = 0; i < ends.Length; i++)
                ends[i] = logits[stopIds[i]];
            for (var id = 0; id < logits.Length; id++)
                if ((allowed[id >> 6] >> (id & 63) & 1) == 0)
                    logits[id] = Sampler.Never;
            var some = Array.Exists(allowed, word => word != 0);
            if (_state.CanEnd)
                for (var i = 0; i < ends.Length; i++)
                    logits[stopIds[i]] = ends[i];
            else if (!some)
                throw new InputException("no token of the vocabulary goes on with the answer as the format wants it",
                    why: "a part of the format has characters that the tokenizer cannot write", fix: "ask for another format");
        }

        public void Take(int token)
        {
            if (!stopIds.Contains(token) && grammar._tokens.BytesOf(token) is { } bytes)
                _state = grammar.Step(_state, bytes);
        }
    }
}
