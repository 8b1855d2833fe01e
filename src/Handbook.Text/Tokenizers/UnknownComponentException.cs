using Handbook.Base;

namespace Handbook.Text.Tokenizers;

/// <summary>A tokenizer.json names a component that this program does not know.</summary>
internal sealed class UnknownComponentException(string what, string why, string fix) : InputException(what, why, fix);
