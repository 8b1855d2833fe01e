using Handbook.Torch;
using Handbook.Torch.Kernels;

namespace Handbook.Models.Generation;

/// <summary>The answers that are made at the same time: every step gives each its next token. Rows join and leave between steps.</summary>
/// <remarks>What a row is given depends on its prompt and its options alone, to the last bit, whatever rows are beside it and however the
/// prompts are cut.</remarks>
/// <param name="forward">The network over new tokens.</param>
/// <param name="tokensAtOnce">New tokens that go through the network together: long prompts are read in parts.</param>
internal sealed class RunningBatch(Decoder model, IncrementalForward forward, int tokensAtOnce) : IDisposable
{
    private readonly List<SampleRow> _rows = [];
    private bool _hasRead;

    /// <summary>Whether prompts are read in steps of their own, between those of the answers: a new answer begins sooner, and running ones
    /// wait for a part of a prompt at most; without, the weights are read once for both.</summary>
    public bool ReadsApart { get; init; }

    /// <summary>Whether rows have adapters of their own (<see cref="Decoder.Joint"/>).</summary>
    public bool IsJoint { get; init; }

    /// <summary>Rows that are worked on.</summary>
    public int Count => _rows.Count;

    /// <summary>The rows, in the order in which they came.</summary>
    public IReadOnlyList<SampleRow> Rows => _rows;

    /// <summary>One more row; it is the batch's to free.</summary>
    public void Add(SampleRow row) => _rows.Add(row);

    /// <summary>Gives every row its next token, or reads more of the prompts that rows wait for.</summary>
    public void Step()
    {
        using var scope = TensorScope.Enter();
        var (caches, parts, heard) = (new List<KeyValueCache>(), new List<ReadOnlyMemory<int>>(), new List<SampleRow>());
        var room = tokensAtOnce;
        var (goesOn, isNew) = (_rows.Exists(row => row.Cache is not null), _rows.Exists(row => row.Cache is null && !row.Prompt.IsRead));
        var apart = ReadsApart && goesOn && isNew;
        _hasRead = apart && !_hasRead;
        foreach (var row in _rows)
            if (row.Cache is not null && room > 0 && !_hasRead)
            {
                caches.Add(row.Cache);
                parts.Add(row.Next);
                heard.Add(row);
                room--;
            }
        var prompts = new List<PromptCache>();
        foreach (var row in _rows)
            if (row.Cache is null && !row.Prompt.IsRead && room > 0 && (_hasRead || !apart) && !prompts.Contains(row.Prompt))
            {
                prompts.Add(row.Prompt);
                caches.Add(row.Prompt.Cache);
                parts.Add(row.Prompt.NextPart(room));
                room -= parts[^1].Length;
            }
        Tensor? logits = null;
        int[] groups = [.. heard.Select(row => row.Prompt).Concat(prompts).Select(prompt => prompt.Group)];
        // those with the same adapters behind one another, and where each came to stand
        int[] order = [.. Enumerable.Range(0, groups.Length).OrderBy(i => groups[i])];
        var places = new int[groups.Length];
        for (var i = 0; i < order.Length; i++)
            places[order[i]] = i;
        if (caches.Count > 0)
        {
            logits = forward.Logits([.. order.Select(i => caches[i])], [.. order.Select(i => parts[i])],
                IsJoint ? [.. order.Select(i => groups[i])] : null).To(DType.Float32);
            for (var p = 0; p < prompts.Count; p++)
                prompts[p].Read(Row(logits, places[heard.Count + p]));
        }
        var drawing = heard.Count;
        foreach (var row in _rows)
            if (row.Cache is null && row.Prompt.IsRead)
            {
                row.Start(model);
                heard.Add(row);
            }
        Draw(heard, places.AsMemory(0, drawing), logits);
        foreach (var row in heard)
            row.Take();
    }

    /// <summary>Hands out the rows that are done, in their order, and frees them.</summary>
    public void Leave(Action<SampleRow> onDone)
    {
        foreach (var row in _rows)
            if (row.IsDone)
            {
                onDone(row);
                row.Dispose();
            }
        _rows.RemoveAll(row => row.IsDone);
    }

    private static ReadOnlySpan<float> Row(Tensor logits, int row)
    {
        var vocabulary = (int)logits.Size(1);
        return logits.AsSpan<float>().Slice(row * vocabulary, vocabulary);
    }

    // The first rows draw from the logits at their places, the others from their prompts'.
    private static unsafe void Draw(List<SampleRow> rows, ReadOnlyMemory<int> places, Tensor? logits) => ThreadTeam.Run(rows.Count, new
        DrawBody
    {
        Rows = rows,
        Places = places,
        Logits = logits is null ? null : logits.Pointer<float>(),
        Vocabulary = logits is null ? 0 : (int)logits.Size(1),
    });

    private unsafe struct DrawBody : IParallelBody
    {
        public List<SampleRow> Rows;
        public ReadOnlyMemory<int> Places;
        public float* Logits;
        public int Vocabulary;

        public readonly void Invoke(int index) =>
            Rows[index].Draw(index < Places.Length ? new ReadOnlySpan<float>(Logits + (long)Places.Span[index] * Vocabulary, Vocabulary)
                : Rows[index].Prompt.Logits);
    }

    /// <summary>Frees the rows that are left.</summary>
    public void Dispose()
    {
        foreach (var row in _rows)
            row.Dispose();
        _rows.Clear();
    }
}
