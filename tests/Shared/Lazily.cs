using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Handbook.Testing;

/// <summary>Claims about many numbers, whose messages are put together only where one fails.</summary>
internal static class Lazily
{
    /// <summary>Holds that something is so.</summary>
    public static void True(bool holds, [InterpolatedStringHandlerArgument(nameof(holds))] ref Message message)
    {
        if (!holds)
            Assert.Fail(message.ToString());
    }

    /// <summary>Holds that two lists have the same bits.</summary>
    public static void Same<T>(T[] expected, T[] actual) where T : unmanaged
    {
        if (!MemoryMarshal.AsBytes<T>(expected).SequenceEqual(MemoryMarshal.AsBytes<T>(actual)))
        {
            Assert.Equal(expected, actual);
            Assert.Fail("the lists are equal, but have other bits: −0, or another NaN");
        }
    }

    /// <summary>A message that nobody makes where all is well.</summary>
    [InterpolatedStringHandler]
    public ref struct Message
    {
        private DefaultInterpolatedStringHandler _text;
        private readonly bool _isMade;

        public Message(int literalLength, int formattedCount, bool holds, out bool isMade)
        {
            _isMade = isMade = !holds;
            _text = isMade ? new(literalLength, formattedCount) : default;
        }

        public void AppendLiteral(string text) => _text.AppendLiteral(text);

        public void AppendFormatted<T>(T value) => _text.AppendFormatted(value);

        public void AppendFormatted<T>(T value, string? format) => _text.AppendFormatted(value, format);

        public override readonly string ToString()
        {
            var text = _text;
            return _isMade ? text.ToStringAndClear() : "";
        }
    }
}
