using Handbook.Base;
using Handbook.Models.Adapters;
using Handbook.Models.Sharding;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Torch.Fused;

namespace Handbook.Models;

/// <summary>All parameters of a model, kept as its <see cref="ParameterPlan"/> says.</summary>
internal sealed class ModelParameters : IDisposable
{
    private readonly Dictionary<string, Parameter> _byName = [];
    private readonly Dictionary<string, ParameterRule> _rules;
    private readonly Dictionary<string, ParameterBucket> _bucketOf = [];
    private Dictionary<string, Parameter> _adapted = [];        // what stands in the place of a parameter while its adapters are active
    private bool _isView;
    private readonly SpillFile? _spill;
    private readonly (string Name, long Start, long Rows)[] _kept;      // of trained parameters the rows that are not

    private ModelParameters(ParameterPlan plan)
    {
        Plan = plan;
        Specs = [.. plan.Rules.Select(rule => rule.Spec)];
        Units = UnitNumbers.For(Specs);
        _rules = plan.Rules.ToDictionary(rule => rule.Spec.Name);
        _kept = [.. plan.Adapters.Where(adapter => adapter.IsTrained).SelectMany(adapter => adapter.KeptRows())];
        _spill = plan.Spills ? new(plan.SpillFolder!) : null;
    }

    public ParameterPlan Plan { get; }

    public IReadOnlyList<ParameterSpec> Specs { get; }

    /// <summary>What lies in flat memory, by whether it is trained, whether weight decay applies, and its factor on the rate.</summary>
    public IReadOnlyList<ParameterBucket> Buckets { get; private set; } = [];

    /// <summary>The units that buckets belong to.</summary>
    public UnitNumbers Units { get; }

    /// <summary>How weights come and gradients go, where several processes train; null where everything is here.</summary>
    public ParameterTraffic? Traffic { get; private set; }

    /// <summary>Trains along with others from here on.</summary>
    /// <param name="group">All of them; used by a thread of its own.</param>
    public void Join(IShardGroup group) => Traffic = new(this, group);

    /// <summary>The buckets that have gradients.</summary>
    public IReadOnlyList<ParameterBucket> Trained { get; private set; } = [];

    /// <summary>The adapters that are active, lowest first.</summary>
    public IReadOnlyList<AdapterLayout> Adapters { get; private set; } = [];

    public Parameter this[string name] =>
        Find(name) ?? throw new ArgumentException($"the model has no parameter {name}", nameof(name));

    /// <summary>The parameter, or null where this model has none of the name (a bias). A tied head is the embedding, but what adapters do
    /// to one of the two is not done to the other.</summary>
    public Parameter? Find(string name) => _adapted.GetValueOrDefault(name) ?? Own(name);

    private Parameter? Own(string name) => _byName.GetValueOrDefault(name)
        ?? (name == ParameterSpec.Head ? _byName.GetValueOrDefault(ParameterSpec.Embedding) : null);

    /// <summary>Whether the head is the embedding, with the adapters too.</summary>
    public bool IsTied => this[ParameterSpec.Embedding] is var embedding && this[ParameterSpec.Head] is var head
        && (ReferenceEquals(head, embedding)
            || head.Adapters.Count == 0 && embedding.Adapters.Count == 0 && ReferenceEquals(head.Value, embedding.Value));

    /// <summary>The same weights with other adapters active; their memory stays this one's.</summary>
    /// <param name="adapters">Names of adapters of the plan; none for the model without any.</param>
    public ModelParameters With(params ReadOnlySpan<string> adapters)
    {
        var view = (ModelParameters)MemberwiseClone();
        view._isView = true;
        view.Activate(adapters);
        return view;
    }

    /// <summary>The same weights for rows of several groups, each with the adapters of one view.</summary>
    /// <param name="views">Views of these weights, all of which <see cref="CanJoin"/>.</param>
    public ModelParameters Jointly(IReadOnlyList<ModelParameters> views)
    {
        var joint = (ModelParameters)MemberwiseClone();
        (joint._isView, joint.Adapters) = (true, []);
        joint._adapted = views.SelectMany(view => view._adapted.Keys).Distinct().ToDictionary(name => name,
            name => Own(name)!.Grouped([.. views.Select(view => view[name])]));
        return joint;
    }

    /// <summary>Whether the active adapters only add to products of layers that read every token: then rows with these and rows with
    /// others can share the product.</summary>
    public bool CanJoin => Adapters.All(adapter => adapter.Whole.Count == 0 && adapter.Tokens is null && adapter.Layers.All(layer =>
        layer.Place == AdapterPlace.Layer && layer.Base.Name.StartsWith("layers.", StringComparison.Ordinal)
        && !layer.Base.Name.Contains(".experts.", StringComparison.Ordinal)
        && layer.Targets.All(target => target.Magnitude is null)));

    /// <summary>Lets products add what some of the adapters say.</summary>
    public void Activate(params ReadOnlySpan<string> names)
    {
        var wanted = names.ToArray();
        Adapters = [.. Plan.Adapters.Where(adapter => wanted.Contains(adapter.Name))];
        _adapted = [];
        foreach (var name in Adapters.SelectMany(adapter => adapter.Layers.Select(layer => layer.Base.Name)
            .Concat(adapter.Whole.Select(pair => pair.Base.Name))).Distinct())
        {
            // What lies below an adapter that has trained the weight whole is not used.
            var whole = Adapters.Index().LastOrDefault(pair => pair.Item.Whole.Any(replaced => replaced.Base.Name == name));
            var own = whole.Item is null ? Own(name)! : _byName[whole.Item.Whole.First(pair => pair.Base.Name == name).Own.Name];
            LowRank[] added = [.. Operations(Adapters.Skip(whole.Item is null ? 0 : whole.Index + 1),
                layer => layer.Base.Name == name)];
            _adapted[name] = added.Length > 0 ? own.With(added) : own;
        }
        if (Tokens() is not { } tokens)
            return;
        var (embedding, head) = (this[ParameterSpec.Embedding], this[ParameterSpec.Head]);
        _adapted[ParameterSpec.Embedding] = embedding.With(embedding.Adapters, tokens);
        if (ReferenceEquals(head.Value, embedding.Value))        // tied
            _adapted[ParameterSpec.Head] = head.With(head.Adapters, tokens);
    }

    /// <summary>The rows of tokens that adapters have trained; of two adapters the upper one's.</summary>
    private ReplacedRows? Tokens()
    {
        var rows = new Dictionary<int, (ParameterSpec Own, int Row)>();
        foreach (var (own, ids) in Adapters.Select(adapter => adapter.Tokens).OfType<(ParameterSpec Own, ValueList<int> Ids)>())
            for (var i = 0; i < ids.Count; i++)
                rows[ids[i]] = (own, i);
        return rows.Values.Select(row => row.Own).Distinct().ToArray() switch
        {
            [] => null,
            [var only] => new(_byName[only.Name], [.. Adapters.Select(adapter => adapter.Tokens).Last(tokens =>
                tokens?.Own == only)!.Value.Ids]),
            _ => throw new InputException("two adapters over one another have trained tokens of their own",
                fix: "merge the lower one into its model first with `handbook merge`"),
        };
    }

    private IEnumerable<LowRank> Operations(IEnumerable<AdapterLayout> adapters, Func<AdapterLayer, bool> which) =>
        adapters.SelectMany(adapter => adapter.Layers.Where(which).SelectMany(layer => layer.Start is null
            ? (LowRank[])[adapter.Operation(layer, this)]
            : [adapter.Operation(layer.Start, this, sign: -1), adapter.Operation(layer, this)]));

    public ParameterSpec Spec(string name) => _rules[name].Spec;

    /// <summary>Number of weights.</summary>
    public long Count => Specs.Sum(s => s.Count);

    /// <summary>Makes room for a model's parameters; their values are zeros. What is mapped has none until it is loaded.</summary>
    public static ModelParameters Allocate(ParameterPlan plan)
    {
        var result = new ModelParameters(plan);
        result.Buckets = [.. BucketLayout.Of(plan).Select(layout => ParameterBucket.Of(layout, plan.Device, result._spill))];
        foreach (var bucket in result.Buckets)
            foreach (var (parameter, _) in bucket.Parameters)
            {
                result._byName.Add(parameter.Name, parameter);
                result._bucketOf.Add(parameter.Name, bucket);
            }
        result.Trained = [.. result.Buckets.Where(bucket => bucket.Gradients is not null)];
        foreach (var rule in plan.Rules)
            if (rule.Storage == ParameterStorage.Resident)
                result.Add(rule, Tensor.Zeros(rule.Type, plan.Device, [.. rule.Spec.Shape]));
        return result;
    }

    private void Add(ParameterRule rule, Tensor values)
    {
        using var scope = TensorScope.Enter();
        var parameter = new Parameter(rule.Spec.Name, values, trainable: false);
        if (rule.Copy is { } copy)
            parameter.SetCompute(Tensor.Zeros(copy, Plan.Device, [.. rule.Spec.Shape]));
        _byName.Add(rule.Spec.Name, parameter);
    }

    /// <summary>Fills the parameters from a checkpoint; what is mapped and what is kept as codes, once and for all.</summary>
    public unsafe void Load(ModelWeights weights)
    {
        foreach (var bucket in Buckets)
        {
            foreach (var (parameter, _) in bucket.Parameters.Where(placed => _rules[placed.Parameter.Name].Adapter is null))
                Read(parameter.Name, parameter.Value);
            if (!IsOfAdapter(bucket))
                bucket.TakeOwn();           // before the next: the rest need not be here at once
        }
        foreach (var rule in Plan.Rules.Where(rule => rule is { Adapter: null, Storage: not ParameterStorage.Bucket }))
            if (rule.Storage is not (ParameterStorage.Mapped or ParameterStorage.Codes))
                Read(rule.Spec.Name, _byName[rule.Spec.Name].Value);
            else if (_byName.ContainsKey(rule.Spec.Name))
                continue;
            else if (rule.Quantisation is not { } codes)
                Add(rule, weights.Map(rule.Spec.Name));
            else
                _byName.Add(rule.Spec.Name, new Parameter(rule.Spec.Name, weights.Codes(rule.Spec.Name, codes)));
        RefreshCompute();
        LoadAdapters();
        ReleasePages();
        weights.ForgetPages();

        void Read(string name, Tensor value)
        {
            using var scope = TensorScope.Enter();
            if (!value.Device.IsCpu && weights.CanMap(name))
                value.Detach().CopyFrom(weights.Map(name));         // from the file's pages, without a copy between
            else
                HostMemory.Write(value, host => weights.Read(name, host.DType, (nint)host.Data));
        }
    }

    /// <summary>Gives adapters their values, lowest first, and makes all that are no references active.</summary>
    private void LoadAdapters()
    {
        List<string> active = [];
        foreach (var adapter in Plan.Adapters)
        {
            Activate([.. active, adapter.Name]);
            adapter.Source.Fill(adapter, this);
            foreach (var bucket in Trained.Where(bucket => adapter.IsTrained && bucket.Rounds))
                DeviceKernels.Of(bucket.Values).RoundToBFloat16(bucket.Values.Detach());
            // What was taken out of a weight is what the rounded adapter adds to it.
            foreach (var spec in adapter.FixedSpecs.Where(_ => adapter is { IsTrained: true, IsBFloat16: true }))
                DeviceKernels.Of(this[spec.Name].Value).RoundToBFloat16(this[spec.Name].Value.Detach());
            if (!adapter.IsReference)
                active.Add(adapter.Name);
            RefreshCompute();
        }
        TakeOwn(adapters: true);
        Activate([.. active]);
    }

    /// <summary>Copies the masters into the copies that products read; the optimiser does so itself. Of what is shared out, those of this
    /// process's part.</summary>
    public void RefreshCompute()
    {
        using var mode = GradMode.Disabled();
        foreach (var bucket in Buckets)
            bucket.RefreshOwn();
        foreach (var rule in Plan.Rules)
            if (rule is { Storage: not ParameterStorage.Bucket, Copy: not null }
                && _byName.GetValueOrDefault(rule.Spec.Name) is { } parameter)
                parameter.Compute.CopyFrom(parameter.Value);
        Traffic?.Changed();
    }

    /// <summary>Keeps this process's part of what was written as a whole.</summary>
    /// <param name="adapters">Whether it is the adapters that were written, or the model's own weights.</param>
    public void TakeOwn(bool adapters)
    {
        using var mode = GradMode.Disabled();
        foreach (var bucket in Buckets.Where(bucket => bucket.IsCut && IsOfAdapter(bucket) == adapters))
            bucket.TakeOwn();
        RefreshCompute();
    }

    private bool IsOfAdapter(ParameterBucket bucket) => _rules[bucket.Parameters[0].Parameter.Name].Adapter is not null;

    /// <summary>The masters of a parameter as a whole; valid until another one is asked for, where they have to be gathered.</summary>
    public Tensor Whole(string name)
    {
        var parameter = this[name];
        return Traffic is { } traffic && _bucketOf.TryGetValue(parameter.Name, out var bucket) && bucket.IsCut
            ? traffic.Whole(parameter, bucket) : parameter.Value;
    }

    /// <summary>Says that masters which lie in a file are not needed until the next step.</summary>
    public void ReleasePages()
    {
        foreach (var bucket in Buckets)
            if (bucket.IsSpilled)
                SpillFile.Release(bucket.OwnValues);
    }

    /// <summary>Forgets the gradients of the last step; the memory is overwritten by the next.</summary>
    public void ClearGradients()
    {
        foreach (var bucket in Buckets)
            bucket.ForgetGradients();
        Traffic?.BeginStep();
    }

    /// <summary>Gives every gradient that nothing reached in this step its value, 0, and that of rows that are not trained; for whoever
    /// reads the memory of a whole bucket. Of what is shared out only the sums are left, in which this was done.</summary>
    public void SettleGradients()
    {
        foreach (var bucket in Trained)
        {
            if (!bucket.IsCut && !bucket.Streams)
                Settle(bucket);
            if (bucket.Rounds)
                DeviceKernels.Of(bucket.OwnValues).RoundToBFloat16(bucket.OwnGradients!);
        }
    }

    /// <summary>The same of this process's gradients of one bucket, before they are added to the others'.</summary>
    public void Settle(ParameterBucket bucket)
    {
        foreach (var (name, start, rows) in _kept)
            if (_bucketOf[name] == bucket)
                _byName[name].GradientToAddTo().Narrow(0, start, rows).ZeroInPlace();
        foreach (var (parameter, _) in bucket.Parameters)
            if (!parameter.HasGradient)
                parameter.GradientToAddTo();
    }

    public void Dispose()
    {
        if (_isView)
            return;
        Traffic?.Dispose();
        foreach (var parameter in _byName.Values)
            parameter.Dispose();
        foreach (var bucket in Buckets)
            bucket.Dispose();
        _spill?.Dispose();
    }
}
