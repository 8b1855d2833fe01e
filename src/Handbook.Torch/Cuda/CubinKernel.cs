using System.Buffers.Binary;
using System.Text;

namespace Handbook.Torch.Cuda;

/// <summary>What one kernel of a cubin needs of a card.</summary>
/// <param name="Name">The kernel's name.</param>
/// <param name="Registers">Of a thread.</param>
/// <param name="SharedBytes">Of a block, beside what a launch adds.</param>
/// <param name="LocalBytes">Of a thread's stack: what did not fit into registers, and arrays that are indexed.</param>
internal readonly record struct CubinKernel(string Name, int Registers, int SharedBytes, int LocalBytes)
{
    // attributes of .nv.info that hold the number of a symbol and a value
    private const byte FrameSize = 0x11, RegisterCount = 0x2F, TwoNumbers = 4;
    private const int SectionHeaderSize = 64, SymbolSize = 24;

    /// <summary>The kernels of a cubin, by name.</summary>
    /// <exception cref="FormatException">These bytes are no cubin.</exception>
    public static CubinKernel[] Read(ReadOnlySpan<byte> cubin)
    {
        if (cubin.Length < SectionHeaderSize || !cubin.StartsWith("\u007FELF"u8) || cubin[4] != 2 || cubin[5] != 1)
            throw new FormatException("not a cubin: it is no 64-bit little-endian ELF file");
        var (table, count, names) = (Long(cubin, 40), Short(cubin, 60), Short(cubin, 62));
        var sections = new Section[count];
        for (var i = 0; i < count; i++)
        {
            var at = Slice(cubin, table + (long)i * SectionHeaderSize, SectionHeaderSize);
            sections[i] = new(Int(at, 0), Long(at, 24), Long(at, 32));
        }
        var strings = Slice(cubin, sections[names].Offset, sections[names].Size);
        var named = new Dictionary<string, Section>();
        foreach (var section in sections)
            named[Text(strings, section.Name)] = section;
        if (!named.TryGetValue(".nv.info", out var info) || !named.TryGetValue(".symtab", out var symbols)
            || !named.TryGetValue(".strtab", out var symbolNames))
            throw new FormatException("not a cubin: it has no .nv.info, or no symbols");
        var attributes = Attributes(Slice(cubin, info.Offset, info.Size));
        var symbolText = Slice(cubin, symbolNames.Offset, symbolNames.Size);
        var kernels = new List<CubinKernel>();
        foreach (var (symbol, registers) in attributes.Where(pair => pair.Key.Attribute == RegisterCount).Select(pair => (pair.Key.Symbol, pair.Value)))
        {
            var name = Text(symbolText, Int(Slice(cubin, symbols.Offset + (long)symbol * SymbolSize, SymbolSize), 0));
            if (named.ContainsKey(".nv.constant0." + name))         // device functions have no parameters there
                kernels.Add(new(name, registers, named.TryGetValue(".nv.shared." + name, out var shared) ? (int)shared.Size : 0,
                    attributes.GetValueOrDefault((FrameSize, symbol))));
        }
        return [.. kernels.OrderBy(kernel => kernel.Name, StringComparer.Ordinal)];
    }

    private static Dictionary<(byte Attribute, int Symbol), int> Attributes(ReadOnlySpan<byte> info)
    {
        var found = new Dictionary<(byte, int), int>();
        for (var at = 0; at + 4 <= info.Length;)
        {
            var (format, attribute, size) = (info[at], info[at + 1], Short(info, at + 2));
            if (format != TwoNumbers)
            {
                at += 4;        // the value is where the size would be
                continue;
            }
            if (size == 8)
                found[(attribute, Int(info, at + 4))] = Int(info, at + 8);
            at += 4 + size;
        }
        return found;
    }

    private static ReadOnlySpan<byte> Slice(ReadOnlySpan<byte> all, long from, long size) =>
        from >= 0 && size >= 0 && from + size <= all.Length ? all.Slice((int)from, (int)size)
            : throw new FormatException($"a cubin of {all.Length} bytes that is cut off: bytes {from} to {from + size} are missing");

    private static string Text(ReadOnlySpan<byte> strings, int from)
    {
        var rest = strings[from..];
        return Encoding.ASCII.GetString(rest[..rest.IndexOf((byte)0)]);
    }

    private static int Short(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);

    private static int Int(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadInt32LittleEndian(bytes[at..]);

    private static long Long(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadInt64LittleEndian(bytes[at..]);

    private readonly record struct Section(int Name, long Offset, long Size);
}
