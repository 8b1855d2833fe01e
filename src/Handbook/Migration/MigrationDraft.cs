using System.Text;
using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Recipes;
using Handbook.Training.Methods;
using Handbook.Training.Plans;

namespace Handbook.Migration;

/// <summary>A recipe that is being made from the settings of another trainer.</summary>
/// <param name="file">Where they stand.</param>
/// <param name="settings">All of them.</param>
internal sealed class MigrationDraft(string file, IReadOnlyList<ForeignKey> settings)
{
    private readonly Dictionary<string, (object? Value, string? Comment)> _keys = [];
    private readonly List<(int Line, string Shown, string Why)> _left = [];
    private readonly Dictionary<string, ForeignKey> _taken = [];
    private readonly HashSet<ForeignKey> _told = [];
    private readonly HashSet<string> _unread = [];
    private readonly Dictionary<string, string> _open = [];
    private ForeignKey? _within;

    /// <summary>What the recipe is for.</summary>
    public TrainingMethod Method { get; set; }

    /// <summary>How many keys the recipe has.</summary>
    public int Count => _keys.Count;

    /// <summary>How many settings it could not take.</summary>
    public int Left => _left.Count;

    /// <summary>Settings that cannot be read, each where it stands.</summary>
    public Diagnostics Problems { get; } = new(file);

    /// <summary>The keys whose settings cannot be read.</summary>
    public IReadOnlySet<string> Unread => _unread;

    /// <summary>The keys that the user fills in.</summary>
    public IReadOnlyCollection<string> Open => _open.Keys;

    /// <summary>The setting that a key was taken from; null where it came of something else.</summary>
    public ForeignKey? Origin(string key) => _taken.GetValueOrDefault(key) ?? this[key];

    /// <summary>The file's folder.</summary>
    public string Folder { get; } = Path.GetDirectoryName(Path.GetFullPath(file)) ?? "";

    /// <summary>A setting by its name there; null where it is not set.</summary>
    public ForeignKey? this[string name] => settings.LastOrDefault(setting => setting.Name == name && !setting.IsEmpty);

    /// <summary>Whether the recipe has a key.</summary>
    public bool Has(string key) => _keys.ContainsKey(key);

    /// <summary>Sets a key.</summary>
    /// <param name="comment">What is said above it; null for nothing.</param>
    /// <param name="from">The setting that it comes of; null where a rule runs for one, or where it comes of none.</param>
    public void Set(string key, object? value, string? comment = null, ForeignKey? from = null)
    {
        _keys[key] = (value, comment);
        if ((from ?? _within) is not { } source)
            return;
        _taken[key] = source;
        Tell(source);
    }

    /// <summary>Sets a key to a list.</summary>
    public void SetTexts(string key, string? comment, params IReadOnlyList<string> texts) => Set(key, texts, comment);

    /// <summary>Runs a rule for a setting: what it sets comes of that one.</summary>
    public void Within(ForeignKey setting, Action<MigrationDraft, ForeignKey> rule)
    {
        _within = setting;
        rule(this, setting);
        _within = null;
    }

    /// <summary>The recipe says what a setting said, in a key, a comment or its command.</summary>
    public void Tell(ForeignKey? setting)
    {
        if (setting is not null)
            _told.Add(setting);
    }

    /// <summary>The same, which tells of the settings of which nothing became.</summary>
    public MigrationDraft Finished()
    {
        foreach (var setting in settings.Where(setting => !setting.IsEmpty && !_told.Contains(setting)).ToArray())
            Leave(setting, setting.IsOff || setting.Number == 0 ? "not needed: off there, and off here"
                : "nothing comes of it beside the other settings");
        return this;
    }

    /// <summary>The key is needed and nothing here is what the settings name: its line waits for the user.</summary>
    /// <param name="comment">What stands in its place.</param>
    public void LeaveOpen(string key, string comment) => _open[key] = comment;

    /// <summary>A setting that stops the migration.</summary>
    /// <param name="what">What is wrong; it begins with the setting.</param>
    /// <param name="at">The part of the value that it is; null for all of it.</param>
    public void Wrong(ForeignKey setting, string what, string? why = null, string? fix = null, RecipeNode? at = null)
    {
        Report(Place((at ?? setting.Value).Span, setting), what, why, fix);
        Tell(setting);
    }

    // One place has one problem: the first that was found.
    private void Report(SourceSpan? at, string what, string? why, string? fix)
    {
        if (at is null || Problems.Errors.All(error => error.At != at))
            Problems.ErrorAt(at, what, why, fix);
    }

    /// <summary>The number that a setting has; null where it is not set, and where it is none, which is a problem.</summary>
    public double? Number(string name) => Number(this[name]);

    /// <inheritdoc cref="Number(string)"/>
    public double? Number(ForeignKey? setting)
    {
        if (setting is not null && setting.Number is null)
            Wrong(setting, $"{setting.Name} is {setting.Said}, not a number", fix: "write a number");
        return setting?.Number;
    }

    /// <summary>Whether a setting is turned on; null where it is not set, and where it says neither, which is a problem.</summary>
    public bool? Flag(string name)
    {
        if (this[name] is { Truth: null } setting)
            Wrong(setting, $"{name} is {setting.Said}, not true or false", fix: "write true or false");
        return this[name]?.Truth;
    }

    /// <summary>Where something stands in the file; null where it does not say.</summary>
    public SourceSpan? Place(SourceSpan span, ForeignKey setting) =>
        span.Source is not null ? span : ScriptPlace.Of(file, span, setting.Line);

    /// <summary>Sets a key unless it is set; for what the other trainer does where nothing is said.</summary>
    public void Default(string key, object? value, string? comment = null)
    {
        if (RecipeKeys.Find(key)!.Serves(Method) && !MethodDefinition.Of(Method).Unread.Any(unread => unread.Key == key))
            _keys.TryAdd(key, (value, comment));
    }

    /// <summary>Takes a setting over as a key of ours; what no recipe of this method takes is told.</summary>
    public void Take(ForeignKey setting, string name, string? comment = null)
    {
        Tell(_within);
        if (RecipeKeys.Find(name) is not { } key)
            Leave(setting, $"nothing here has this name{(RecipeKeys.Nearest(name, Method) is { } near ? $"; is {near} meant?" : "")}");
        else if (key.Disposition is Disposition.NoEffect or Disposition.Rejected)
            Leave(setting, key.Disposition == Disposition.NoEffect ? $"not needed: {key.Reason}" : key.Reason!);
        else if (!key.Serves(Method))
            Leave(setting, $"not read by handbook {RecipeNames.Of(Method)}");
        else if (Bound(setting, key, out var value))
        {
            if (key.Disposition == Disposition.NotBuilt && !Equals(value, key.Default))
                Leave(setting, $"not built: {key.Reason}");
            else
                Set(key.Name, value, comment, setting);
        }
    }

    /// <summary>Tells of a setting that the recipe does not have, and why.</summary>
    public void Leave(ForeignKey setting, string why)
    {
        Tell(setting);
        Tell(_within);
        Leave(setting.Line, setting.Shown, why);
    }

    /// <inheritdoc cref="Leave(ForeignKey, string)"/>
    public void Leave(int line, string shown, string why) => _left.Add((line, shown, why));

    /// <summary>The recipe as YAML.</summary>
    /// <param name="origin">Whose settings they were.</param>
    /// <param name="name">What the recipe is called in the command that runs it.</param>
    public string Write(string origin, string name)
    {
        var text = new StringBuilder($"# Made by handbook migrate from {Path.GetFileName(file)} ({origin}).\n"
            + $"#   handbook {RecipeNames.Of(Method)} {name}\n");
        foreach (var group in RecipeKeys.All.Where(key => _keys.ContainsKey(key.Name) || _open.ContainsKey(key.Name))
            .GroupBy(key => key.Group))
        {
            text.Append($"\n# {group.Key}\n");
            foreach (var key in group)
            {
                if (_open.TryGetValue(key.Name, out var waiting))
                {
                    text.Append($"# {waiting}\n# {key.Name}:\n");
                    continue;
                }
                var (value, comment) = _keys[key.Name];
                if (comment is not null)
                    text.Append($"# {comment}\n");
                text.Append($"{key.Name}:{(value is DatasetMixture mixture ? Sets(mixture) : YamlWriter.Block(value))}\n");
            }
        }
        if (_left.Count > 0)
            text.Append($"\n# Without a counterpart here, by their lines in {Path.GetFileName(file)}:\n");
        foreach (var (line, shown, why) in _left.OrderBy(entry => entry.Line))
            text.Append($"#   {line,3}  {shown}\n#        {why}\n");
        return text.ToString();
    }

    // what is not set is not written
    private static string Sets(DatasetMixture mixture)
    {
        var text = new StringBuilder("\n  datasets:");
        foreach (var set in mixture.Datasets)
        {
            text.Append($"\n    - {{id: {YamlWriter.Flow(set.Id)}");
            foreach (var (name, value) in ((string, object?)[])[("config", set.Config), ("split", set.Split), ("columns", set.Columns),
                ("weight", set.Weight == 1 ? null : set.Weight), ("column_mapping", set.ColumnMapping)])
                if (value is not null)
                    text.Append($", {name}: {YamlWriter.Flow(value)}");
            text.Append('}');
        }
        text.Append($"\n  seed: {mixture.Seed}");
        return mixture.TestSplitSize is { } size ? $"{text}\n  test_split_size: {YamlWriter.Flow(size)}" : text.ToString();
    }

    private bool Bound(ForeignKey setting, RecipeKey key, out object? value)
    {
        var report = new Diagnostics(file);
        // Lists on a command line have commas; in a file a text with commas is one text.
        if (new RecipeBinder(report).TryBind(setting.Value, key.Type, key.Name, out value) && value != RecipeBinder.Unset)
            return value is not null || !key.NeedsValue;
        var type = Nullable.GetUnderlyingType(key.Type) ?? key.Type;
        // A name that only another trainer knows is no mistake there; a number that is none is one everywhere.
        var isMistake = type.IsValueType && !type.IsEnum || type == typeof(IReadOnlyList<double>);
        if (isMistake)
            _unread.Add(key.Name);
        foreach (var error in report.Errors)
            if (isMistake)
                Report(Place(error.At ?? setting.Value.Span, setting), setting.Name + error.What[key.Name.Length..], error.Why,
                    error.Fix);
            else
                Leave(setting, $"{error.What}{(error.Fix is { } fix ? $": {fix}" : "")}");
        Tell(setting);
        return false;
    }
}
