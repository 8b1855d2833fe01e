using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Reference;

namespace Handbook.Training.Tests.Models;

/// <summary>Experts, each of which reads all tokens, and queries, keys and values out of short vectors.</summary>
internal sealed partial class PlainDecoder
{
    private Tensor Experts(Tensor x, string path, ExpertOptions experts)
    {
        var logits = x.Linear(Value(path + "router.weight"), Find(path + "router.bias"));
        var p = experts.Sigmoid ? logits.Sigmoid() : logits.Softmax(-1);
        var merits = Find(path + "router.correction") is { } correction ? p + correction : p;
        double[][] rows = [.. merits.Detach().ToArray<double>().Chunk(experts.Count).Select(row => Chosen(row, experts))];
        var chosen = p * Tensor.From([.. rows.SelectMany(row => row)], p.Size(0), experts.Count);
        if (experts.NormalizeTopK)
            chosen /= chosen.Sum(-1, keepDim: true);
        var said = Enumerable.Range(0, experts.Count)
            .Select(e => (Weight: chosen.Narrow(1, e, 1) * experts.WeightScale, Path: $"{path}experts.{e}."))
            .Select(expert => experts.WeighsInput ? Mlp(x * expert.Weight, expert.Path) : Mlp(x, expert.Path) * expert.Weight)
            .Aggregate((a, b) => a + b);
        if (experts.SharedInnerSize == 0)
            return said;
        var shared = Mlp(x, path + "shared.");
        return said + (Find(path + "shared_gate.weight") is { } gate ? shared * x.Linear(gate).Sigmoid() : shared);
    }

    /// <summary>1 for the experts that a token visits, 0 for the others.</summary>
    private static double[] Chosen(double[] merits, ExpertOptions experts)
    {
        var size = experts.Count / experts.Groups;
        double[][] groups = [.. merits.Chunk(size)];
        if (experts.Groups > 1)
        {
            var sums = groups.Select(group => group.OrderDescending().Take(2).Sum()).ToArray();
            merits = [.. groups.SelectMany((group, g) => sums.Count(sum => sum > sums[g]) < experts.GroupsPerToken ? group
                : new double[size])];
        }
        var best = Enumerable.Range(0, merits.Length).OrderByDescending(e => merits[e]).Take(experts.PerToken).ToArray();
        return [.. merits.Select((_, e) => best.Contains(e) ? 1.0 : 0)];
    }

    /// <summary>Queries, keys and values side by side.</summary>
    private Tensor FromLatents(Tensor x, string path)
    {
        var (n, turns, values) = (x.Size(0), _config.RotarySize, _config.ValueHeadSize);
        var query = _config.Latent!.QueryRank == 0 ? x
            : LatentNorm(x.Linear(Value(path + "query_down.weight"), Find(path + "query_down.bias")), path + "query_down_norm");
        var down = x.Linear(Value(path + "key_value_down.weight"), Find(path + "key_value_down.bias"));
        var heads = LatentNorm(down.Narrow(1, 0, _config.Latent.KeyValueRank), path + "key_value_norm")
            .Linear(Value(path + "key_value.weight")).Reshape(n, _config.Heads, -1);
        var own = heads.Size(2) - values;
        var shared = down.Narrow(1, _config.Latent.KeyValueRank, turns);
        Tensor[] keys = [.. Enumerable.Range(0, _config.Heads).SelectMany(head =>
            (Tensor[])[heads.Narrow(1, head, 1).Narrow(2, 0, own).Reshape(n, own), shared])];
        return Tensor.Cat([query.Linear(Value(path + "query.weight")), .. keys,
            .. Enumerable.Range(0, _config.Heads).Select(head => heads.Narrow(1, head, 1).Narrow(2, own, values).Reshape(n, values))], 1);
    }

    // whatever the other norms have
    private Tensor LatentNorm(Tensor h, string path) => Plain.RmsNorm(h, Value(path + ".weight"), 1e-6);
}
