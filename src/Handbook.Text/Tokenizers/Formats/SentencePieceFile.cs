using Handbook.Base;

namespace Handbook.Text.Tokenizers.Formats;

/// <summary>What a piece is to sentencepiece, by its own numbers.</summary>
internal enum PieceKind
{
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// <summary>One entry of a sentencepiece vocabulary.</summary>
internal readonly record struct VocabularyPiece(string Text, float Score, PieceKind Kind);

/// <summary>What a sentencepiece model file says of a tokenizer. Kudo and Richardson 2018, arXiv:1808.06226.</summary>
/// <remarks>The file is a protobuf message; field numbers are those of the published <c>sentencepiece_model.proto</c>.</remarks>
internal sealed record SentencePieceFile
{
    private const int Unigram = 1, Bpe = 2;

    public required IReadOnlyList<VocabularyPiece> Pieces { get; init; }

    /// <summary>Whether pieces are merged; else the most probable ones are chosen.</summary>
    public bool IsBpe { get; private init; }

    public bool ByteFallback { get; private init; }

    public int UnknownId { get; private init; }

    public string UnknownPiece { get; private init; } = "<unk>";

    /// <summary>Ids of the pieces that begin a text, end it and fill rows up; −1 for none.</summary>
    public (int Begin, int End, int Padding) Around { get; private init; } = (1, 2, -1);

    /// <summary>The compiled replacements of the normalizer; empty for none.</summary>
    public byte[] Replacements { get; private init; } = [];

    /// <summary>Whether a space is put before every text.</summary>
    public bool AddsPrefix { get; private init; } = true;

    /// <summary>Whether spaces at the ends and all but one of several disappear.</summary>
    public bool RemovesExtraSpaces { get; private init; } = true;

    /// <summary>Whether spaces are written as ▁.</summary>
    public bool EscapesSpaces { get; private init; } = true;

    /// <param name="name">Name of the file, for messages.</param>
    /// <exception cref="InputException">The bytes are no such model, or one that is not known.</exception>
    public static SentencePieceFile Read(ReadOnlySpan<byte> bytes, string name)
    {
        try
        {
            var file = Parse(bytes, name);
            if (file.Pieces.Count == 0)
                throw new FormatException("it holds no pieces");
            if ((uint)file.UnknownId >= (uint)file.Pieces.Count)
                throw new FormatException($"its unknown piece is number {file.UnknownId}, but it has {file.Pieces.Count} pieces");
            return file;
        }
        catch (FormatException broken)
        {
            throw new InputException($"{name} is no sentencepiece model: {broken.Message}", fix: "fetch the file again", inner: broken);
        }
    }

    /// <summary>Pieces that are merged, with tokens for bytes, from a file of another format.</summary>
    public static SentencePieceFile OfMerges(IReadOnlyList<VocabularyPiece> pieces, int unknown) => new()
    {
        Pieces = pieces,
        IsBpe = true,
        ByteFallback = true,
        UnknownId = unknown,
        UnknownPiece = unknown < pieces.Count ? pieces[unknown].Text : "<unk>",
    };

    private static SentencePieceFile Parse(ReadOnlySpan<byte> bytes, string name)
    {
        var pieces = new List<VocabularyPiece>();
        var file = new SentencePieceFile { Pieces = pieces };
        var message = new ProtobufReader(bytes);
        while (message.Next())
            switch (message.Field)
            {
                case 1:
                    pieces.Add(Piece(message.Bytes()));
                    break;
                case 2:
                    file = Trainer(file, message.Bytes(), name);
                    break;
                case 3:
                    file = Normalizer(file, message.Bytes());
                    break;
            }
        return file;
    }

    private static VocabularyPiece Piece(ReadOnlySpan<byte> bytes)
    {
        var piece = new VocabularyPiece("", 0, PieceKind.Normal);
        var message = new ProtobufReader(bytes);
        while (message.Next())
            piece = message.Field switch
            {
                1 => piece with { Text = message.Text() },
                2 => piece with { Score = message.Float() },
                3 => piece with { Kind = (PieceKind)message.Number() },
                _ => piece,
            };
        return piece.Text.Length == 0 ? throw new FormatException("a piece is empty")
            : !float.IsFinite(piece.Score) ? throw new FormatException($"the piece \"{piece.Text}\" has the score {piece.Score}")
            : piece;
    }

    private static SentencePieceFile Trainer(SentencePieceFile file, ReadOnlySpan<byte> bytes, string name)
    {
        var type = Unigram;
        var message = new ProtobufReader(bytes);
        while (message.Next())
            switch (message.Field)
            {
                case 3:
                    type = message.Number();
                    break;
                case 24 when message.Flag():
                    throw new InputException($"{name}: treat_whitespace_as_suffix is set, and pieces that end in ▁ are not built here",
                        "the text would be cut at other places than the model has learned",
                        "convert the file with transformers, where it knows this model's tokenizer");
                case 35:
                    file = file with { ByteFallback = message.Flag() };
                    break;
                case 40:
                    file = file with { UnknownId = message.Number() };
                    break;
                case 41:
                    file = file with { Around = file.Around with { Begin = message.Number() } };
                    break;
                case 42:
                    file = file with { Around = file.Around with { End = message.Number() } };
                    break;
                case 43:
                    file = file with { Around = file.Around with { Padding = message.Number() } };
                    break;
                case 45:
                    file = file with { UnknownPiece = message.Text() };
                    break;
            }
        return type is Unigram or Bpe ? file with { IsBpe = type == Bpe } : throw new InputException(
            $"{name} is a sentencepiece model of type {type switch { 3 => "WORD", 4 => "CHAR", _ => $"{type}" }}",
            "BPE and UNIGRAM are known", "use a tokenizer that language models are published with");
    }

    private static SentencePieceFile Normalizer(SentencePieceFile file, ReadOnlySpan<byte> bytes)
    {
        var message = new ProtobufReader(bytes);
        while (message.Next())
            file = message.Field switch
            {
                2 => file with { Replacements = message.Bytes().ToArray() },
                3 => file with { AddsPrefix = message.Flag() },
                4 => file with { RemovesExtraSpaces = message.Flag() },
                5 => file with { EscapesSpaces = message.Flag() },
                _ => file,
            };
        return file;
    }
}
