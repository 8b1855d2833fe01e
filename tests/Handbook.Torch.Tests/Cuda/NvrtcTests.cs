using System.Text;
using Handbook.Base;
using Handbook.Testing;
using Handbook.Torch.Cuda;

namespace Handbook.Torch.Tests.Cuda;

[Trait("needs", "nvrtc")]
public sealed class NvrtcTests
{
    private const string Scale = """
        #include "part.cuh"

        // y = a · x
        extern "C" __global__ void __launch_bounds__(128)
        scale(const float* x, float* y, float a, long long n) {
          for (long long i = first(); i < n; i += step()) y[i] = a * x[i];
        }
        """;

    private static CudaSource Source(string text = Scale) => new("scale.cu", text)
    {
        Headers = new Dictionary<string, string>
        {
            ["part.cuh"] = """
                __device__ inline long long first() { return blockIdx.x * (long long)blockDim.x + threadIdx.x; }
                __device__ inline long long step() { return gridDim.x * (long long)blockDim.x; }
                """,
        },
    };

    [Theory]
    [InlineData(80), InlineData(86), InlineData(89), InlineData(90)]
    public void A_text_becomes_machine_code_without_a_card(int number)
    {
        var made = CudaCheck.Compiler().Compile(Source(), new(number));
        Assert.Equal([0x7f, (byte)'E', (byte)'L', (byte)'F'], made.Image[..4]);
        Assert.Contains("scale", Encoding.Latin1.GetString(made.Image));
        Assert.Equal("", made.Log);
    }

    [Fact]
    public void A_card_newer_than_the_compiler_gets_ptx()
    {
        var compiler = CudaCheck.Compiler();
        var newest = compiler.Architectures.Max();
        var architecture = compiler.For(newest + 1);
        Assert.Equal(new(newest, IsVirtual: true), architecture);
        var text = Encoding.UTF8.GetString(compiler.Compile(Source(), architecture).Image);
        Assert.Contains($".target sm_{newest}", text);
        Assert.Contains(".visible .entry scale(", text);
        Assert.Equal('\0', text[^1]);
    }

    [Fact]
    public void The_architecture_is_the_cards_own_or_the_nearest_older_one()
    {
        int[] known = [70, 80, 86, 89, 90];
        Assert.Equal("sm_86", CudaArchitecture.For(86, known).ToString());
        Assert.Equal("compute_90", CudaArchitecture.For(100, known).ToString());
        Assert.Equal("compute_80", CudaArchitecture.For(85, known).ToString());
        Assert.Null(CudaArchitecture.For(61, known));
        var refused = Assert.Throws<InputException>(() => CudaCheck.Compiler().For(20));
        Assert.Contains("no card as old as compute capability 2.0", refused.Message);
    }

    [Fact]
    public void An_error_names_kernel_and_line_and_shows_the_lines_text()
    {
        var compiler = CudaCheck.Compiler();
        var refused = Assert.Throws<CudaException>(() => compiler.Compile(Source(Scale.Replace("a * x[i]", "b * x[i] + c")), new(80)));
        Assert.Equal($"""
            scale.cu does not compile for sm_80 with NVRTC {compiler.Version}:
              scale.cu:6 in kernel scale: identifier "b" is undefined
                6 | for (long long i = first(); i < n; i += step()) y[i] = b * x[i] + c;
              scale.cu:6 in kernel scale: identifier "c" is undefined
                6 | for (long long i = first(); i < n; i += step()) y[i] = b * x[i] + c;
            """, refused.Message);
    }

    [Fact]
    public void An_error_in_a_header_shows_the_headers_line()
    {
        var source = Source() with { Headers = new Dictionary<string, string> { ["part.cuh"] = "__device__ long long first() {\n  return y;\n}" } };
        var refused = Assert.Throws<CudaException>(() => CudaCheck.Compiler().Compile(source, new(80)));
        Assert.Contains("\n  part.cuh:2: identifier \"y\" is undefined\n    2 | return y;", refused.Message);
        var missing = Assert.Throws<CudaException>(() => CudaCheck.Compiler().Compile(new("lone.cu", Scale), new(80)));
        Assert.Contains("\n  lone.cu:1: cannot open source file \"part.cuh\"", missing.Message);
        Assert.Contains("\n    1 | #include \"part.cuh\"", missing.Message);
    }

    [Fact]
    public void Lines_are_those_of_the_files_that_a_text_was_made_from()
    {
        var source = new CudaSource("pair", $"#line 1 \"common.cuh\"\n// first\ntypedef float T;\n#line 1 \"norms.cu\"\n{Scale[(Scale.IndexOf('\n') + 2)..]
            .Replace("a * x[i]", "b", StringComparison.Ordinal).Replace("first()", "0", StringComparison.Ordinal).Replace("step()", "1", StringComparison.Ordinal)}");
        var refused = Assert.Throws<CudaException>(() => CudaCheck.Compiler().Compile(source, new(80)));
        Assert.EndsWith(":\n  norms.cu:4 in kernel scale: identifier \"b\" is undefined\n    4 | for (long long i = 0; i < n; i += 1) y[i] = b;",
            refused.Message);
        Assert.Equal("typedef float T;", source.Line("common.cuh", 2));
        Assert.Null(source.KernelAround("common.cuh", 2));
        Assert.Null(source.Line("common.cuh", 3));
    }

    [Fact]
    public void An_option_that_the_compiler_does_not_know_is_named()
    {
        var refused = Assert.Throws<CudaException>(() =>
            CudaCheck.Compiler().Compile(Source() with { Options = ["--no-such-option"] }, new(80)));
        Assert.Contains("no-such-option", refused.Message);
        var newer = Assert.Throws<CudaException>(() => CudaCheck.Compiler().Compile(Source(), new(999)));
        Assert.Contains("sm_999", newer.Message);
    }

    [Fact]
    public void What_was_compiled_once_comes_from_the_disk_and_what_is_damaged_there_is_made_anew()
    {
        _ = CudaCheck.Compiler();
        using var folder = new TemporaryFolder();
        var compiler = new Nvrtc(NvrtcLibrary.Find(Environment.GetEnvironmentVariable, out _)!, new BinaryCache(folder.Path));
        var source = Source() with { Options = ["-DUNUSED=1"] };
        var first = compiler.Compile(source, new(80));
        Assert.False(first.WasCached);
        Assert.Equal(first with { WasCached = true, Image = [] }, compiler.Compile(source, new(80)) with { Image = [] });
        var file = Assert.Single(Directory.GetFiles(folder.Path));
        var whole = File.ReadAllBytes(file);
        foreach (var damaged in (byte[][])[[], whole[..40], whole[..^1], [.. whole[..^1], (byte)~whole[^1]], [.. whole, 0]])
        {
            File.WriteAllBytes(file, damaged);
            var again = compiler.Compile(source, new(80));
            Assert.False(again.WasCached);
            Assert.Equal(first.Image, again.Image);
            Assert.Equal(whole, File.ReadAllBytes(file));
        }
        // another text, option, name, header or card is another entry
        CudaSource[] others = [source with { Text = Scale + "\n" }, source with { Options = ["-DUNUSED=2"] },
            source with { Name = "other.cu" }, source with { Headers = new Dictionary<string, string> { ["part.cuh"] = "" } }];
        string[] hashes = [.. others.Append(source).Select(each => each.Hash(new(80), "NVRTC 1.0")), source.Hash(new(86), "NVRTC 1.0"),
            source.Hash(new(80, true), "NVRTC 1.0"), source.Hash(new(80), "NVRTC 1.1")];
        Assert.Equal(hashes.Length, hashes.Distinct().Count());
    }

    [Fact]
    public void A_cache_that_cannot_be_written_costs_nothing_else()
    {
        _ = CudaCheck.Compiler();
        using var folder = new TemporaryFolder();
        var file = System.IO.Path.Combine(folder.Path, "file");
        File.WriteAllText(file, "no folder");
        var compiler = new Nvrtc(NvrtcLibrary.Find(Environment.GetEnvironmentVariable, out _)!, new BinaryCache(file));
        Assert.NotEmpty(compiler.Compile(Source(), new(80)).Image);
    }

    [Theory]
    [InlineData(1, null), InlineData(3, null), InlineData(4, "scale"), InlineData(5, "scale"), InlineData(6, "scale"), InlineData(7, "scale"),
     InlineData(8, null), InlineData(9, "other"), InlineData(99, "other")]
    public void The_kernel_around_a_line_is_found(int line, string? kernel) =>
        Assert.Equal(kernel, (Source() with { Text = Scale + "\n\n__global__ void other(int n) {\n  n = 1;" }).KernelAround("scale.cu", line));

    [Fact]
    public void A_named_place_without_the_compiler_is_told()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(System.IO.Path.Combine(folder.Path, "libnvrtc.so.12"), "not a library");
        Assert.Null(NvrtcLibrary.Find(name => name == NvrtcLibrary.Variable ? folder.Path : null, out var problem));
        Assert.StartsWith($"HANDBOOK_NVRTC is {folder.Path}, but {folder.Path}/libnvrtc.so.12 does not load: ", problem);
        Assert.Null(NvrtcLibrary.Find(name => name == NvrtcLibrary.Variable ? "/no/such/folder" : null, out problem));
        Assert.Equal("HANDBOOK_NVRTC is /no/such/folder, but /no/such/folder is not there", problem);
    }

    [Fact]
    public void The_compiler_of_a_python_torch_is_found_beside_it()
    {
        using var folder = new TemporaryFolder();
        var site = folder.Path;
        foreach (var package in (string[])["torch/lib", "nvidia/cuda_nvrtc/lib", "nvidia/cublas/lib", "nvidia/empty"])
            Directory.CreateDirectory(System.IO.Path.Combine(site, package));
        string[] expected = [$"{site}/torch/lib", $"{site}/nvidia/cublas/lib", $"{site}/nvidia/cuda_nvrtc/lib"];
        Assert.Equal(expected, TorchFolders.Libraries($"{site}/torch", null));
        Assert.Equal(expected, TorchFolders.Libraries(null, $"{site}/torch/lib"));
        Assert.Equal(expected, TorchFolders.Libraries($"{site}/torch", $"{site}/torch/lib"));
        Assert.Empty(TorchFolders.Libraries($"{site}/nowhere", null));
    }

    [Fact]
    public void A_library_with_a_hash_in_its_name_is_found()
    {
        var compiler = CudaCheck.Compiler();
        Assert.SkipUnless(System.IO.Path.IsPathRooted(compiler.Path), "the system's loader found NVRTC, whose folder is unknown");
        using var folder = new TemporaryFolder();
        var lib = Directory.CreateDirectory(System.IO.Path.Combine(folder.Path, "lib")).FullName;
        File.CreateSymbolicLink($"{lib}/libnvrtc-builtins-0a1b.so.12.4", "/no/such/file");
        File.CreateSymbolicLink($"{lib}/libnvrtc-0a1b2c3d.so.12", compiler.Path);
        var found = NvrtcLibrary.Find(name => name == "LIBTORCH" ? folder.Path : null, out _)!;
        Assert.Equal($"{lib}/libnvrtc-0a1b2c3d.so.12", found.Path);
        Assert.Equal(compiler.Version, found.Version);
    }
}
