using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Torch;
using Handbook.Training.Checkpoints;
using Handbook.Training.Methods;
using Handbook.Training.Metrics;
using Handbook.Training.Optimizers;

namespace Handbook.Training;

/// <summary>What a checkpoint of a run holds: the model in its published layout, the optimiser, and the loop's own state.</summary>
internal static class TrainingCheckpoint
{
    /// <summary>Masters and optimiser states, each under the published name of its parameter.</summary>
    public const string OptimizerFile = "optimizer.safetensors";

    /// <summary>Writes <c>checkpoint-N</c>, whole or not at all; returns its path. The first of the workers writes, when all have come
    /// here; all go on when it is there.</summary>
    public static string Save(TrainingJob job, string outputDir, Optimizer optimizer, LoopState state, TrainerState trainerState)
    {
        var sinceLog = job.Workers.Sum(state.SinceLog);
        state.MethodState = job.Method.Joined(job.Workers.Gather(job.Method.State));
        var path = job.Workers.IsFirst ? Write(job, outputDir, optimizer, state, trainerState, sinceLog)
            : CheckpointFolder.PathOf(outputDir, state.Step);
        job.Workers.Meet();
        return path;
    }

    private static string Write(TrainingJob job, string outputDir, Optimizer optimizer, LoopState state, TrainerState trainerState,
        MetricSums sinceLog)
    {
        var modelOnly = job.Options.SaveOnlyModel;
        using var scope = TensorScope.Enter();
        var tensors = modelOnly ? [] : Tensors(job, optimizer).ToArray();
        var bytes = job.ModelBytes + tensors.Sum(t => t.Value.Count * t.Value.DType.Size) + (1 << 20);
        return CheckpointFolder.Save(outputDir, state.Step, bytes, writer =>
        {
            using (optimizer.Evaluation())
                job.SaveModel(writer.Folder);
            writer.WriteText(TrainerState.FileName, trainerState.ToJson());
            if (modelOnly)
                return;
            using (var stream = writer.Create(OptimizerFile))
                SafetensorsWriter.Write(stream, tensors.Select(t => ToSave(t.Name, t.Value)),
                    new Dictionary<string, string> { ["format"] = "pt", ["updates"] = optimizer.Updates.ToString() });
            writer.WriteText(LoopState.FileName, state.ToJson(sinceLog));
        });
    }

    /// <summary>Puts masters and optimiser state back as they were.</summary>
    /// <exception cref="InputException">The checkpoint is of another model, optimiser or precision.</exception>
    public static LoopState Restore(string folder, TrainingJob job, Optimizer optimizer)
    {
        var state = LoopState.Load(folder);
        var path = Path.Combine(folder, OptimizerFile);
        using var file = SafetensorsFile.Open(path);
        const string fix = "go on with the recipe that made the checkpoint, or start with --fresh=true or another output_dir";
        using var scope = TensorScope.Enter();
        var wanted = Tensors(job, optimizer).ToArray();
        if (file.Names.Contains("master.decay"))
            throw new InputException($"{path} was written by an earlier version of this program, which laid its numbers out in another way",
                fix: "begin anew with --fresh=true, or finish the run with the version that began it");
        if (file.Names.Except(wanted.Select(w => w.Name)).FirstOrDefault() is { } extra)
            throw new InputException($"{path} has {extra}, which {optimizer.Description} does not keep: it belongs to another optimiser",
                fix: fix);
        foreach (var (name, value) in wanted)
        {
            if (!file.Names.Contains(name))
                throw new InputException($"{path} has no {name}, which {optimizer.Description} keeps: it belongs to another optimiser",
                    fix: fix);
            var info = file.Info(name);
            if (info.DType != value.DType || info.Count != value.Count)
                throw new InputException($"{path}: {name} has {info.Count} elements of {info.DType}, but this run has {value.Count} "
                    + $"of {value.DType}: it belongs to another model or precision", fix: fix);
            Copy(file.Read(name), value);
        }
        optimizer.Updates = long.Parse(file.Metadata["updates"]);
        job.Model.Parameters.RefreshCompute();
        job.Method.State = state.MethodState;
        if (!job.Workers.IsFirst)
            state.SinceLog.Clear();     // the first has what everyone measured
        return state;
    }

    private static IEnumerable<(string Name, Tensor Value)> Tensors(TrainingJob job, Optimizer optimizer)
    {
        foreach (var bucket in job.Model.Parameters.Trained)
            foreach (var slice in NamedSlices.Of("master", job.Model.Parameters, bucket, bucket.Values))
                yield return slice;
        foreach (var state in optimizer.State)
            yield return state;
        foreach (var state in job.Method.StateTensors)
            yield return state;
    }

    private static unsafe TensorToSave ToSave(string name, Tensor value) =>
        new(new TensorInfo(name, value.DType, [.. value.Shape]), stream =>
    {
        const long Chunk = 16 << 20;
        var bytes = value.Count * value.DType.Size;
        for (var at = 0L; at < bytes; at += Chunk)
            stream.Write(new ReadOnlySpan<byte>((byte*)value.Data + at, (int)Math.Min(Chunk, bytes - at)));
    });

    private static unsafe void Copy(TensorData source, Tensor target)
    {
        NativeMemory.Copy((void*)source.Pointer, target.Data, (nuint)source.Info.ByteCount);
        GC.KeepAlive(source.Owner);
    }
}
