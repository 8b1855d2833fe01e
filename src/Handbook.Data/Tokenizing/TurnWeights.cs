using System.Text.Json;
using Handbook.Data.Formats;
using Handbook.Text.Templates;

namespace Handbook.Data.Tokenizing;

/// <summary>Takes the loss from turns that the data says not to learn: <c>weight: 0</c>, <c>loss_weight: 0</c>, <c>train: false</c>,
/// <c>training: false</c> or <c>loss: false</c> in a message.</summary>
/// <param name="chats">Renders conversations.</param>
/// <param name="options">How they become tokens.</param>
internal sealed class TurnWeights(ChatRowEncoder chats, RowTokenizerOptions options)
{
    /// <summary>The loss without the turns that are not learnt.</summary>
    /// <param name="chat">The whole conversation.</param>
    /// <param name="ids">Its tokens.</param>
    /// <param name="loss">The loss as the recipe has it; not changed.</param>
    /// <param name="onlyAssistant">Whether turns of others carry no loss anyhow.</param>
    public byte[] Silence(Conversation chat, int[] ids, byte[] loss, bool onlyAssistant)
    {
        if (chat.Messages.ValueKind != JsonValueKind.Array)
            return loss;
        var turns = chat.Messages.EnumerateArray().ToArray();
        byte[]? changed = null;
        for (var i = 0; i < turns.Length; i++)
        {
            if (TurnWeight.Silencing(turns[i], $"turn {i + 1}") is null)
                continue;
            var isAssistant = turns[i].TryGetProperty("role", out var role) && role.ValueEquals("assistant");
            if (!isAssistant && onlyAssistant)
                continue;
            changed ??= [.. loss];
            foreach (var (start, end) in Between(chat, turns, i, ids) ?? (isAssistant ? Runs(chat, turns, i, ids.Length) : null)
                ?? throw new UnusableRowException("weight of a turn cannot be placed",
                    $"turn {i + 1}: the template renders the turns before it otherwise without those behind it")
                { Fix = "remove weight from these messages, or cut the conversations so that each ends with a turn to learn" })
                changed.AsSpan(start, end - start).Clear();
        }
        return changed ?? loss;
    }

    /// <summary>The tokens that a turn adds to the turns before it; null where these are rendered otherwise without what follows.</summary>
    private (int, int)[]? Between(Conversation chat, JsonElement[] turns, int i, int[] ids)
    {
        var start = i == 0 ? 0 : Beginning(chat, turns, i, ids);
        var end = i == turns.Length - 1 ? ids.Length : Beginning(chat, turns, i + 1, ids);
        return start is { } from && end is { } to && to >= from ? [(from, to)] : null;
    }

    private int? Beginning(Conversation chat, JsonElement[] turns, int count, int[] ids)
    {
        try
        {
            var beginning = chats.Encode(First(chat, turns, count), options, withMask: false).Ids;
            return ids.AsSpan().StartsWith(beginning) ? beginning.Length : null;
        }
        catch (UnusableRowException)
        {
            return null;        // a template that wants another last turn
        }
    }

    /// <summary>What a turn has of the runs of tokens that the assistant says; null where the number of runs does not tell.</summary>
    private (int, int)[]? Runs(Conversation chat, JsonElement[] turns, int i, int length)
    {
        try
        {
            var (before, with) = (i == 0 ? 0 : Runs(First(chat, turns, i)).Count, Runs(First(chat, turns, i + 1)).Count);
            var all = Runs(chat);
            return all.Count >= with && (i < turns.Length - 1 || all.Count == with) && all.All(run => run.End <= length)
                ? [.. all[before..with]] : null;
        }
        catch (UnusableRowException)
        {
            return null;
        }
    }

    private List<(int Start, int End)> Runs(Conversation chat)
    {
        var mask = chats.Encode(chat, options, withMask: true).Mask;
        var runs = new List<(int, int)>();
        for (var start = 0; start < mask.Length; start++)
            if (mask[start] != 0)
            {
                var end = start;
                while (end < mask.Length && mask[end] != 0)
                    end++;
                runs.Add((start, end));
                start = end;
            }
        return runs;
    }

    private static Conversation First(Conversation chat, JsonElement[] turns, int count) =>
        chat with { Messages = JsonLists.Of(turns[..count]) };
}
