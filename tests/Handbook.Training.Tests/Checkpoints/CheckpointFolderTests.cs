using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Testing;
using Handbook.Training.Checkpoints;

namespace Handbook.Training.Tests.Checkpoints;

public sealed class CheckpointFolderTests : IDisposable
{
    private readonly TemporaryFolder _run = new();

    public void Dispose() => _run.Dispose();

    [Fact]
    public void A_saved_checkpoint_is_found_again_with_every_file_in_its_manifest()
    {
        var path = CheckpointFolder.Save(_run.Path, 50, 0, writer =>
        {
            writer.WriteText("trainer_state.json", "{}");
            writer.WriteBytes("sub/optimizer.bin", [1, 2, 3]);
            File.WriteAllText(Path.Combine(writer.Folder, "written_directly.txt"), "x");
        });

        var found = CheckpointFolder.FindLatest(_run.Path, verifyHashes: true);

        Assert.Equal(_run["checkpoint-50"], path);
        Assert.Equal(path, found!.Path);
        Assert.Equal(50, found.Step);
        Assert.Equal(["sub/optimizer.bin", "trainer_state.json", "written_directly.txt"], found.Manifest.Files.Select(file => file.Path));
        // sha256sum of 01 02 03
        Assert.Equal("039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81", found.Manifest.Files[0].Sha256);
        Assert.Equal(["checkpoint-50"], Names());
    }

    [Fact]
    public void A_read_only_file_can_be_part_of_a_checkpoint()
    {
        CheckpointFolder.Save(_run.Path, 1, 0, writer =>
        {
            var file = Path.Combine(writer.Folder, "tokenizer.json");
            File.WriteAllText(file, "{}");
            File.SetAttributes(file, FileAttributes.ReadOnly);
        });
        Assert.NotNull(CheckpointFolder.FindLatest(_run.Path));
    }

    [Theory]
    [InlineData(false)] // the write fails and the process goes on: an error while saving
    [InlineData(true)]  // after the failure nothing works any more: as if the process had been killed there
    public void Number_19_a_failure_at_any_operation_of_a_save_leaves_a_whole_checkpoint_and_no_remains(bool killed)
    {
        var failures = 0;
        for (var at = 0; ; at++, failures++)
        {
            using var run = new TemporaryFolder();
            Save(run.Path, 10, "old", Disk.Real);
            var disk = new FailingDisk(at, killed);
            try
            {
                Save(run.Path, 20, "new", disk);
                Assert.Equal(20, CheckpointFolder.FindLatest(run.Path)!.Step);
                break;      // no operation left to fail
            }
            catch (DiskFailure)
            {
            }
            var found = CheckpointFolder.FindLatest(run.Path, verifyHashes: true);
            Assert.NotNull(found);
            Assert.Equal(found.Step == 10 ? "old" : "new", File.ReadAllText(Path.Combine(found.Path, "b", "weights.bin")));
            Assert.DoesNotContain(Directory.EnumerateDirectories(run.Path), path => Path.GetFileName(path).StartsWith('.'));
        }
        Assert.True(failures >= 10, $"only {failures} operations could fail: the disk is not asked for everything");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_failure_while_replacing_a_checkpoint_of_the_same_step_keeps_the_old_or_the_new_one(bool killed)
    {
        for (var at = 0; ; at++)
        {
            using var run = new TemporaryFolder();
            Save(run.Path, 10, "old", Disk.Real);
            try
            {
                Save(run.Path, 10, "new", new FailingDisk(at, killed));
                break;
            }
            catch (DiskFailure)
            {
            }
            var found = CheckpointFolder.FindLatest(run.Path, verifyHashes: true);
            Assert.NotNull(found);
            Assert.Contains(File.ReadAllText(Path.Combine(found.Path, "a.txt")), new[] { "old", "new" });
            Assert.Single(Directory.EnumerateFileSystemEntries(run.Path));
        }
    }

    [Fact]
    public void A_full_disk_is_explained_and_leaves_the_checkpoint_before()
    {
        Save(_run.Path, 10, "old", Disk.Real);

        var problem = Assert.Throws<InputException>(() => Save(_run.Path, 20, "new", new FullDisk()));

        Assert.Contains("checkpoint-20: the disk is full", problem.Message, StringComparison.Ordinal);
        Assert.Contains("the same command again", problem.Fix, StringComparison.Ordinal);
        Assert.Equal(["checkpoint-10"], Names());
        Assert.Equal(10, CheckpointFolder.FindLatest(_run.Path, verifyHashes: true)!.Step);
    }

    [Fact]
    public void Too_little_space_is_refused_before_anything_is_written()
    {
        Save(_run.Path, 10, "old", Disk.Real);
        var asked = false;

        var problem = Assert.Throws<InputException>(() =>
            CheckpointFolder.Save(_run.Path, 20, 5_000_000_000, _ => asked = true, new SmallDisk(free: 2_000_000_000)));

        Assert.False(asked);
        Assert.Contains("about 5.0 GB needed, 2.0 GB free", problem.What, StringComparison.Ordinal);
        Assert.Contains("free 3.0 GB", problem.Fix, StringComparison.Ordinal);
        Assert.Equal(["checkpoint-10"], Names());
    }

    [Fact]
    public void The_space_left_on_the_real_disk_is_known()
    {
        var problem = Assert.Throws<InputException>(() => CheckpointFolder.Save(_run.Path, 1, 1L << 60, _ => { }));
        Assert.Contains("not enough space", problem.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_damaged_checkpoint_is_passed_over_with_its_reason()
    {
        Save(_run.Path, 10, "old", Disk.Real);
        Save(_run.Path, 20, "new", Disk.Real);
        Save(_run.Path, 30, "newest", Disk.Real);
        Directory.CreateDirectory(_run["checkpoint-40"]);
        File.Delete(_run["checkpoint-30", "a.txt"]);
        File.WriteAllText(_run["checkpoint-20", "a.txt"], "neu");   // three bytes, as before
        var heard = new List<string>();

        Assert.Equal(20, CheckpointFolder.FindLatest(_run.Path, heard.Add)!.Step);
        Assert.Equal(10, CheckpointFolder.FindLatest(_run.Path, heard.Add, verifyHashes: true)!.Step);

        Assert.Contains(heard,
            line => line.Contains("checkpoint-40 is not a whole checkpoint (it has no manifest.json)", StringComparison.Ordinal));
        Assert.Contains(heard, line => line.Contains("(a.txt is missing)", StringComparison.Ordinal));
        Assert.Contains(heard, line => line.Contains("a.txt has changed since it was saved", StringComparison.Ordinal));
    }

    [Fact]
    public void Remains_of_a_dead_process_are_removed_and_said()
    {
        Save(_run.Path, 10, "old", Disk.Real);
        Directory.CreateDirectory(_run[".tmp-checkpoint-20-999999999"]);
        File.WriteAllText(_run[".tmp-checkpoint-20-999999999", "half"], "x");
        Directory.CreateDirectory(_run[".cache-mine-1"]);
        var heard = new List<string>();

        CheckpointFolder.FindLatest(_run.Path, heard.Add);

        Assert.Equal(["checkpoint-20: a save was interrupted; its remains were removed"], heard);
        Assert.Equal([".cache-mine-1", "checkpoint-10"], Names());
    }

    [Theory]
    [InlineData("missing", "does not exist")]
    [InlineData("checkpoint-7", "is not a whole checkpoint: it has no manifest.json")]
    public void Number_18_a_named_checkpoint_that_is_not_there_stops_the_run(string name, string expected)
    {
        Directory.CreateDirectory(_run["checkpoint-7"]);
        var problem = Assert.Throws<InputException>(() => CheckpointFolder.Open(_run[name]));
        Assert.Contains(expected, problem.What, StringComparison.Ordinal);
        Assert.StartsWith("resume_from_checkpoint:", problem.What, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null, null, "10 20 30 40")]
    [InlineData(2, null, "30 40")]
    [InlineData(2, 10, "10 40")]
    [InlineData(1, 10, "10 40")]    // the best and the newest are both kept
    [InlineData(1, 40, "40")]
    [InlineData(9, null, "10 20 30 40")]
    public void Pruning_removes_the_oldest_but_never_the_best_or_the_newest(int? limit, int? best, string left)
    {
        foreach (var step in new[] { 10, 20, 30, 40 })
            Save(_run.Path, step, "x", Disk.Real);

        CheckpointFolder.Prune(_run.Path, limit, best is null ? null : _run[$"checkpoint-{best}"]);

        Assert.Equal(left, string.Join(' ', CheckpointFolder.List(_run.Path).Select(found => found.Step)));
    }

    [Fact]
    public void An_export_replaces_its_files_and_removes_shards_of_the_one_before()
    {
        File.WriteAllText(_run["model-00001-of-00002.safetensors"], "old");
        File.WriteAllText(_run["model-00002-of-00002.safetensors"], "old");
        File.WriteAllText(_run["model.safetensors.index.json"], "old");
        File.WriteAllText(_run["notes.txt"], "mine");

        var names = CheckpointFolder.Export(_run.Path, 0, writer =>
        {
            writer.WriteText("model.safetensors", "new");
            writer.WriteText("config.json", "{}");
        });

        Assert.Equal(["config.json", "model.safetensors"], names);
        Assert.Equal(["config.json", "model.safetensors", "notes.txt"], Names());
    }

    [Fact]
    public void A_failed_export_leaves_the_model_before_as_it_was()
    {
        CheckpointFolder.Export(_run.Path, 0, writer => writer.WriteText("model.safetensors", "old"));
        Assert.Throws<DiskFailure>(() => CheckpointFolder.Export(_run.Path, 0, writer =>
        {
            writer.WriteText("model.safetensors", "new");
            throw new DiskFailure();
        }));
        Assert.Equal("old", File.ReadAllText(_run["model.safetensors"]));
        Assert.Equal(["model.safetensors"], Names());
    }

    [Fact]
    public void A_file_in_the_place_of_the_folder_is_explained()
    {
        File.WriteAllText(_run["out"], "");
        var problem = Assert.Throws<InputException>(() => Save(_run["out"], 1, "x", Disk.Real));
        Assert.EndsWith("out is a file, not a folder", problem.What, StringComparison.Ordinal);
    }

    private static void Save(string run, int step, string content, Disk disk) => CheckpointFolder.Save(run, step, 0, writer =>
    {
        writer.WriteText("a.txt", content);
        writer.WriteText("b/weights.bin", content);
    }, disk);

    private IEnumerable<string> Names() =>
        Directory.EnumerateFileSystemEntries(_run.Path).Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal);

    private sealed class DiskFailure : IOException;

    /// <summary>Fails the operation with the given number; when killed, every later one too.</summary>
    private sealed class FailingDisk(int at, bool killed) : Disk
    {
        private int _count;

        public override Stream Create(string path)
        {
            Count();
            return new FailingStream(base.Create(path), Count);
        }

        public override void FlushFile(string path) => Counted(() => base.FlushFile(path));

        public override void FlushFolder(string path) => Counted(() => base.FlushFolder(path));

        public override void CreateFolder(string path) => Counted(() => base.CreateFolder(path));

        public override void MoveFolder(string from, string to) => Counted(() => base.MoveFolder(from, to));

        public override void DeleteFolder(string path) => Counted(() => base.DeleteFolder(path));

        private void Counted(Action operation)
        {
            Count();
            operation();
        }

        private void Count()
        {
            var number = _count++;
            if (number == at || (killed && number > at))
                throw new DiskFailure();
        }
    }

    /// <summary>Asks before every write; half of the bytes arrive when the answer is no.</summary>
    private sealed class FailingStream(Stream inner, Action ask) : Stream
    {
        public override bool CanRead => false;
        public override bool CanSeek => false;
        public override bool CanWrite => true;
        public override long Length => inner.Length;
        public override long Position { get => inner.Position; set => throw new NotSupportedException(); }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            inner.Write(buffer[..(buffer.Length / 2)]);
            ask();
            inner.Write(buffer[(buffer.Length / 2)..]);
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Flush() => inner.Flush();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            inner.Dispose();
            base.Dispose(disposing);
        }
    }

    /// <summary>Says what the kernel says when there is no space: every write goes to /dev/full.</summary>
    private sealed class FullDisk : Disk
    {
        public override Stream Create(string path)
        {
            base.Create(path).Dispose();
            return new FileStream("/dev/full", FileMode.Open, FileAccess.Write, FileShare.ReadWrite, 0);
        }
    }

    private sealed class SmallDisk(long free) : Disk
    {
        public override long? FreeBytes(string folder) => free;
    }
}
