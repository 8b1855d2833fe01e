using System.Text;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Models.Files;
using Handbook.Torch;
using Handbook.Training.Checkpoints;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Metrics;
using Handbook.Training.Optimizers;

namespace Handbook.Training;

/// <summary>What a checkpoint of a run holds: the model in its published layout, the optimiser, and the loop's own state.</summary>
internal static class TrainingCheckpoint
{
    /// <summary>Writes <c>checkpoint-N</c>, whole or not at all; returns its path. The first of the workers writes, when all have come
    /// here, and what is shared out each writes itself; all go on when it is there.</summary>
    public static string Save(TrainingJob job, string outputDir, Optimizer optimizer, LoopState state, TrainerState trainerState)
    {
        var sinceLog = job.Workers.Sum(state.SinceLog);
        state.MethodState = job.Method.Joined(job.Workers.GatherGroups(job.Method.State));
        var path = CheckpointFolder.PathOf(outputDir, state.Step);
        if (job.Workers.IsFirst)
            Write(job, outputDir, optimizer, state, trainerState, sinceLog);
        else if (IsCut(job))
            WriteBesideFirst(job, optimizer);
        job.Workers.Meet();
        return path;
    }

    private static bool IsCut(TrainingJob job) => job.Model.Parameters.Plan.Shard.Cuts;

    private static void Write(TrainingJob job, string outputDir, Optimizer optimizer, LoopState state, TrainerState trainerState,
        MetricSums sinceLog)
    {
        var modelOnly = job.Options.SaveOnlyModel;
        using var scope = TensorScope.Enter();
        var tensors = modelOnly ? [] : Tensors(job, optimizer).ToArray();
        var bytes = job.ModelBytes + tensors.Sum(t => t.Value.Count * t.Value.DType.Size) * job.Model.Parameters.Plan.Shard.Count + (1 << 20);
        CheckpointFolder.Save(outputDir, state.Step, bytes, writer =>
        {
            using (optimizer.Evaluation())
            {
                job.SaveModel(writer.Folder);
                if (IsCut(job))
                    job.Workers.Meet();
            }
            writer.WriteText(TrainerState.FileName, trainerState.ToJson());
            if (modelOnly)
                return;
            if (IsCut(job))
                job.Workers.Gather(Encoding.UTF8.GetBytes(Path.GetFullPath(writer.Folder)));
            WriteStates(writer, job, optimizer, tensors);
            if (IsCut(job))
                writer.Others.AddRange(Described(job, "", writer.Folder));
            writer.WriteText(LoopState.FileName, state.ToJson(sinceLog));
        });
    }

    // Of those who are not the first: each has its file in the first one's folder before that one says what the checkpoint consists of.
    private static void WriteBesideFirst(TrainingJob job, Optimizer optimizer)
    {
        using var scope = TensorScope.Enter();
        using (optimizer.Evaluation())
            job.Workers.Meet();         // meanwhile the first one saves the model, of which this process has a part
        if (job.Options.SaveOnlyModel)
            return;
        var folder = Encoding.UTF8.GetString(job.Workers.Gather(Array.Empty<byte>())[0]);
        string said;
        try
        {
            var writer = new CheckpointWriter(folder, Disk.Real);
            var name = WriteStates(writer, job, optimizer, [.. Tensors(job, optimizer)]);
            Disk.Real.FlushFile(Path.Combine(folder, name));
            var file = CheckpointManifest.Of(folder, name);
            said = new JsonArray(file.Path, file.Size, file.Sha256).ToJsonString();
        }
        catch (Exception failure) when (Disk.Explain(failure, folder) is { } explained)
        {
            said = new JsonArray(explained.Message).ToJsonString();
        }
        Described(job, said);
    }

    /// <summary>The files of all but the first.</summary>
    /// <param name="mine">This one's: path, size and hash; or why there is none.</param>
    /// <param name="folder">Where they have to be.</param>
    /// <exception cref="InputException">Somebody could not write its own.</exception>
    private static List<ManifestFile> Described(TrainingJob job, string mine, string? folder = null)
    {
        var files = new List<ManifestFile>();
        var parts = job.Workers.Gather(Encoding.UTF8.GetBytes(mine));
        for (var rank = 1; rank < parts.Count; rank++)
        {
            var said = JsonNode.Parse(parts[rank])!.AsArray();
            if (said.Count < 3)
                throw new InputException($"rank {rank} could not write its part of the checkpoint: {said[0]}",
                    fix: "all processes write into output_dir: it must be one folder on all hosts, with room on its disk");
            var file = new ManifestFile((string)said[0]!, (long)said[1]!, (string)said[2]!);
            if (folder is not null && !OneFolder.Sees(Path.Combine(folder, file.Path), file.Size))
                throw new InputException($"rank {rank} wrote its part of the checkpoint, {file.Path}, but it is not in {folder} on "
                    + Environment.MachineName, why: "output_dir is not one folder on all hosts", fix: "name a folder on a disk that all share");
            files.Add(file);
        }
        return files;
    }

    private static string WriteStates(CheckpointWriter writer, TrainingJob job, Optimizer optimizer, (string Name, Tensor Value)[] tensors)
    {
        var shard = job.Model.Parameters.Plan.Shard;
        var name = SavedStates.FileOf(shard.Cuts ? shard.Rank : 0, shard.Cuts ? shard.Count : 1);
        using var stream = writer.Create(name);
        SafetensorsWriter.Write(stream, tensors.Select(t => ToSave(t.Name, t.Value)),
            new Dictionary<string, string> { ["format"] = "pt", ["updates"] = optimizer.Updates.ToString() });
        return name;
    }

    /// <summary>Puts masters and optimiser state back as they were.</summary>
    /// <exception cref="InputException">The checkpoint is of another model, optimiser or precision.</exception>
    public static LoopState Restore(string folder, TrainingJob job, Optimizer optimizer)
    {
        var state = LoopState.Load(folder);
        using var saved = SavedStates.Open(folder);
        const string fix = "go on with the recipe that made the checkpoint, or start with --fresh=true or another output_dir";
        using var scope = TensorScope.Enter();
        var wanted = Tensors(job, optimizer, all: true).Select(each => (Place: NamedSlices.Split(each.Name), each.Value)).ToArray();
        var path = saved.Path;
        if (saved.Names.Contains("master.decay"))
            throw new InputException($"{path} was written by an earlier version of this program, which laid its numbers out in another way",
                fix: "begin anew with --fresh=true, or finish the run with the version that began it");
        if (saved.Names.Except(Everyones(job, wanted.Select(each => each.Place.Name))).FirstOrDefault() is { } extra)
            throw new InputException($"{path} has {extra}, which {optimizer.Description} does not keep: it belongs to another optimiser",
                fix: fix);
        foreach (var ((name, from, isPart), value) in wanted)
        {
            if (!saved.Names.Contains(name))
                throw new InputException($"{path} has no {name}, which {optimizer.Description} keeps: it belongs to another optimiser",
                    fix: fix);
            var (type, count) = saved.Shape(name);
            if (type != value.DType || (isPart ? count < from + value.Count : count != value.Count)
                || saved.Read(name, from, value) != value.Count)
                throw new InputException($"{path}: {name} has {count} elements of {type}, but this run has {from + value.Count} "
                    + $"of {value.DType}: it belongs to another model or precision", fix: fix);
        }
        optimizer.Updates = long.Parse(saved.Metadata["updates"]);
        job.Model.Parameters.RefreshCompute();
        job.Method.State = state.MethodState;
        if (!job.Workers.IsFirst)
            state.SinceLog.Clear();     // the first has what everyone measured
        return state;
    }

    /// <summary>All names that some process keeps a part of.</summary>
    private static IEnumerable<string> Everyones(TrainingJob job, IEnumerable<string> mine) => !IsCut(job) ? mine
        : job.Workers.Gather(Encoding.UTF8.GetBytes(string.Join('\n', mine))).SelectMany(part => Encoding.UTF8.GetString(part).Split('\n'));

    /// <param name="all">With what every process has alike, which only the first writes.</param>
    private static IEnumerable<(string Name, Tensor Value)> Tensors(TrainingJob job, Optimizer optimizer, bool all = false)
    {
        foreach (var bucket in job.Model.Parameters.Trained)
            foreach (var slice in NamedSlices.Of("master", job.Model.Parameters, bucket, bucket.OwnValues))
                yield return slice;
        foreach (var state in optimizer.State)
            yield return state;
        if (all || job.Workers.IsFirst)
            foreach (var state in job.Method.StateTensors)
                yield return state;
    }

    private static unsafe TensorToSave ToSave(string name, Tensor value) =>
        new(new TensorInfo(name, value.DType, [.. value.Shape]), stream =>
    {
        const long Chunk = 16 << 20;
        using var scope = TensorScope.Enter();
        var host = HostMemory.Of(value);
        var bytes = value.Count * value.DType.Size;
        for (var at = 0L; at < bytes; at += Chunk)
            stream.Write(new ReadOnlySpan<byte>((byte*)host.Data + at, (int)Math.Min(Chunk, bytes - at)));
    });
}
