using LLama;
using LLama.Common;
using LLama.Native;

namespace Handbook.Models.Tests.Gguf;

/// <summary>llama.cpp with a GGUF file: an implementation of its own of everything that the file says.</summary>
internal sealed class LlamaCpp : IDisposable
{
    private readonly LLamaWeights _weights;
    private readonly LLamaContext? _context;

    static LlamaCpp() => NativeLibraryConfig.All.WithLogCallback((level, message) =>
    {
        if (level is LLamaLogLevel.Error)
            Said.Enqueue(message);
    });

    /// <summary>What it complained of.</summary>
    private static readonly System.Collections.Concurrent.ConcurrentQueue<string> Said = [];

    /// <param name="length">Most tokens of a text.</param>
    /// <param name="vocabularyOnly">Read the tokenizer alone.</param>
    public LlamaCpp(string file, int length = 128, bool vocabularyOnly = false)
    {
        Said.Clear();
        // float32 everywhere, so that what differs is the file's
        var options = new ModelParams(file)
        {
            ContextSize = (uint)length,
            GpuLayerCount = 0,
            Threads = 2,
            TypeK = GGMLType.GGML_TYPE_F32,
            TypeV = GGMLType.GGML_TYPE_F32,
            FlashAttention = false,
            VocabOnly = vocabularyOnly,
        };
        try
        {
            _weights = LLamaWeights.LoadFromFile(options);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"llama.cpp does not open {file}: {string.Concat(Said)}", e);
        }
        _context = vocabularyOnly ? null : _weights.CreateContext(options);
    }

    /// <summary>Lays an adapter's file over the model.</summary>
    public void Adapt(string file)
    {
        var adapter = _weights.NativeHandle.LoadLoraFromFile(file);
        _context!.NativeHandle.SetLoraAdapters(new (LoraAdapter, float)[] { (adapter, 1) });
    }

    /// <summary>The logits behind each token of a text; [N][V].</summary>
    public float[][] Logits(int[] ids)
    {
        var batch = new LLamaBatch();
        for (var i = 0; i < ids.Length; i++)
            batch.Add(ids[i], i, LLamaSeqId.Zero, true);
        var context = _context!.NativeHandle;
        context.MemoryClear();
        Assert.Equal(DecodeResult.Ok, context.Decode(batch));
        return [.. Enumerable.Range(0, ids.Length).Select(i => context.GetLogitsIth(i).ToArray())];
    }

    /// <summary>The likeliest tokens behind a text, one after the other.</summary>
    public int[] Greedy(int[] ids, int count)
    {
        List<int> all = [.. ids];
        for (var i = 0; i < count; i++)
        {
            var logits = Logits([.. all])[^1];
            all.Add(Array.IndexOf(logits, logits.Max()));
        }
        return [.. all.Skip(ids.Length)];
    }

    /// <summary>Ids of a text, with what the file says stands around it.</summary>
    public int[] Encode(string text) =>
        [.. _weights.NativeHandle.Tokenize(text, true, true, System.Text.Encoding.UTF8).Select(token => (int)token)];

    /// <summary>Lets it write a file in fewer bits.</summary>
    public static void Quantise(string file, string output, LLamaFtype type)
    {
        NativeApi.llama_empty_call();       // finds the library
        Assert.True(LLamaQuantizer.Quantize(file, output, type, 2, false, true));
    }

    public string? Metadata(string key) => _weights.Metadata.GetValueOrDefault(key);

    public void Dispose()
    {
        _context?.Dispose();
        _weights.Dispose();
    }
}
