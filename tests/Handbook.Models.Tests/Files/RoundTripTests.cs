using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Models.Tests.Files;

/// <summary>What we write, in the reference's own bytes, and what we read back of it.</summary>
public sealed class RoundTripTests
{
    public static TheoryData<string> Safetensors() => SharedFiles.Root is null ? [] :
        [.. Directory.GetFiles(Path.Combine(SharedFiles.Root, "golden", "models"), "*.safetensors", SearchOption.AllDirectories).Order()
            .Select(f => Path.GetRelativePath(SharedFiles.Root, f))];

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Safetensors))]
    public void A_file_of_the_reference_library_is_written_again_byte_for_byte(string relative)
    {
        var path = SharedFiles.Need(relative);
        using var file = SafetensorsFile.Open(path);
        using var stream = new MemoryStream();

        SafetensorsWriter.Write(stream, file.Names.Reverse().Select(n => TensorToSave.From(file.Read(n))), file.Metadata);

        Assert.Equal(File.ReadAllBytes(path), stream.ToArray());
    }

    [Theory(SkipTestWithoutData = true), MemberData(nameof(GoldenModelTests.Folders), MemberType = typeof(GoldenModelTests))]
    public void Our_parameters_give_back_the_published_file(string model)
    {
        var folder = SharedFiles.Need("golden", "models", model);
        var config = GoldenModel.Load(folder, "config.json");
        using var target = new TemporaryFolder();
        foreach (var fused in (bool[])[false, true])
        {
            using (var weights = ModelWeights.Open(folder, config, fused))
                WeightFilesWriter.Save(target.Path, PublishedTensors.Of(weights.Parameters, Ours(weights, DType.Float32), DType.Float32));
            Assert.Equal(File.ReadAllBytes(Path.Combine(folder, "model.safetensors")), File.ReadAllBytes(target["model.safetensors"]));
        }
    }

    [Fact]
    public void Bfloat16_weights_come_back_bit_for_bit()
    {
        var folder = SharedFiles.Need("models", "tinystories-656k");
        using var weights = ModelWeights.Open(folder, PublishedConfig.Load(folder));
        using var target = new TemporaryFolder();

        // Through float32, which holds every bfloat16 exactly.
        WeightFilesWriter.Save(target.Path, PublishedTensors.Of(weights.Parameters, Ours(weights, DType.Float32), DType.BFloat16));

        Assert.Equal(File.ReadAllBytes(Path.Combine(folder, "model.safetensors")), File.ReadAllBytes(target["model.safetensors"]));
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.Float64)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void Gpt2_goes_out_transposed_and_comes_back_the_same(DType dtype)
    {
        var config = Some.Gpt2();
        using var target = new TemporaryFolder();
        var ours = Ramps(config.Family.Parameters(config.Decoder));
        WeightFilesWriter.Save(target.Path, PublishedTensors.Of(config.Family.Parameters(config.Decoder), ours, dtype));
        using var weights = ModelWeights.Open(target.Path, config);

        Assert.Equal(dtype, weights.DTypeOf("layers.0.attention.key.weight"));
        // Ramps hold small multiples of 1/8, exact in every type here.
        Assert.All(weights.Parameters,
            p => Assert.Equal(MemoryMarshal.Cast<byte, float>(ours(p.Name).Bytes).ToArray(), weights.ReadSingles(p.Name)));
        Assert.Equal([8, 24], Open(target).Info("transformer.h.0.attn.c_attn.weight").Shape);
    }

    [Fact]
    public void Shards_hold_at_most_their_size_and_list_every_tensor()
    {
        var config = Some.Llama();
        using var target = new TemporaryFolder();
        var parameters = config.Family.Parameters(config.Decoder);
        var ours = Ramps(parameters);

        var files = WeightFilesWriter.Save(target.Path, PublishedTensors.Of(parameters, ours, DType.Float32),
            new() { MaxShardBytes = 2000 });

        Assert.True(files.Count > 3);
        Assert.Equal(target["model.safetensors.index.json"], files[^1]);
        Assert.All(files.Take(files.Count - 1), f => Assert.InRange(new FileInfo(f).Length, 0, 2000 + 1000)); // 1000: the header
        using var weights = ModelWeights.Open(target.Path, config);
        Assert.All(weights.Parameters,
            p => Assert.Equal(MemoryMarshal.Cast<byte, float>(ours(p.Name).Bytes).ToArray(), weights.ReadSingles(p.Name)));

        // A later save in one file leaves nothing behind that a reader could mistake for it.
        WeightFilesWriter.Save(target.Path, PublishedTensors.Of(parameters, ours, DType.Float32));
        Assert.Equal(["model.safetensors"], Directory.GetFiles(target.Path).Select(Path.GetFileName));
    }

    [Fact]
    public void A_failed_save_leaves_the_old_file_and_nothing_else()
    {
        using var target = new TemporaryFolder();
        WeightFilesWriter.Save(target.Path, [TensorToSave.From("a", [1, 2, 3], 3)]);
        var before = File.ReadAllBytes(target["model.safetensors"]);

        TensorToSave failing = new(new("b", DType.Float32, [1]), _ => throw new IOException("No space left on device"));
        var error = Assert.Throws<InputException>(() => WeightFilesWriter.Save(target.Path, [failing]));

        Assert.Contains("the disk is full", error.Message);
        Assert.Equal(before, File.ReadAllBytes(target["model.safetensors"]));
        Assert.Single(Directory.GetFileSystemEntries(target.Path));
    }

    [Fact]
    public void A_mapped_tensor_lies_in_the_file_and_outlives_it()
    {
        using var target = new TemporaryFolder();
        WeightFilesWriter.Save(target.Path, [TensorToSave.From("a", [1, 2, 3], 3)]);
        var file = SafetensorsFile.Open(target["model.safetensors"]);
        var data = file.Read("a");
        var held = false;
        data.Owner.DangerousAddRef(ref held);
        file.Dispose();

        Assert.Equal([1, 2, 3], MemoryMarshal.Cast<byte, float>(data.Bytes).ToArray());
        data.Owner.DangerousRelease();
    }

    private static WeightFiles Open(TemporaryFolder folder) => WeightFiles.Open(folder.Path);

    private static Func<string, TensorData> Ours(ModelWeights weights, DType dtype) => name =>
    {
        var spec = weights.Spec(name);
        var buffer = new NativeBuffer(spec.Count * dtype.Size);
        weights.Read(name, dtype, buffer.DangerousGetHandle());
        return new(new(name, dtype, spec.Shape), buffer.DangerousGetHandle(), buffer);
    };

    private static Func<string, TensorData> Ramps(IReadOnlyList<ParameterSpec> parameters)
    {
        var all = new Dictionary<string, TensorData>();
        foreach (var (spec, i) in parameters.Select((p, i) => (p, i)))
        {
            var buffer = new NativeBuffer(spec.Count * 4);
            unsafe
            {
                for (var k = 0; k < spec.Count; k++)
                    ((float*)buffer.Pointer)[k] = (k * 7 + i) % 129 / 8f - 8; // at most 128 steps of 1/8: 8 bits
            }
            all[spec.Name] = new(new(spec.Name, DType.Float32, spec.Shape), buffer.DangerousGetHandle(), buffer);
        }
        return name => all[name];
    }
}
