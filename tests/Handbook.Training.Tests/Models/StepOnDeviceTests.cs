using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Torch;
using Handbook.Torch.Tests.Cuda;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Optimizers;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Models;

/// <summary>Whole steps, optimiser included, and whole answers, on the stand-in for a GPU with the kernels of GPUs, and on the CPU.</summary>
[Collection("tensors"), Trait("needs", "nvrtc")]
public sealed class StepOnDeviceTests
{
    private static readonly SupervisedMethod s_method = new("sft");

    [Theory, Trait("speed", "slow"), InlineData("llama", DType.Float32), InlineData("gpt2", DType.Float32), InlineData("mistral", DType.BFloat16),
        InlineData("olmo2", DType.BFloat16), InlineData("gpt_neox", DType.Float32)]
    public void Full_steps_of_other_networks_are_those_of_the_cpu(string kind, DType compute) => Full_steps_are_those_of_the_cpu(kind, compute);

    [Theory, InlineData("llama", DType.BFloat16), InlineData("mixtral", DType.Float32)]
    public void Full_steps_are_those_of_the_cpu(string kind, DType compute) =>
        Compare(device => Tiny.Model(kind, dtype: DType.Float32, compute: compute, device: device), compute == DType.Float32 ? 2e-4 : 0.05, null);

    [Theory, Trait("speed", "slow"), InlineData(AdapterKind.Dora), InlineData(AdapterKind.Biased), InlineData(AdapterKind.Int8)]
    public void Steps_of_other_adapters_are_those_of_the_cpu(AdapterKind kind) => Steps_of_adapters_are_those_of_the_cpu(kind);

    [Theory, InlineData(AdapterKind.Lora), InlineData(AdapterKind.Qlora)]
    public void Steps_of_adapters_are_those_of_the_cpu(AdapterKind kind) =>
        Compare(device => Tiny.Adapted("llama", kind, dtype: DType.Float32, device: device), 2e-4,
            batch => new() { AdapterNoise = new AdapterDropout(3).For(batch, 2) });

    private static void Compare(Func<Device, Decoder> model, double tolerance, Func<TokenBatch, ForwardOptions>? options)
    {
        var device = StandInDevice.Need();
        StandInDevice.Launched.Clear();
        var (here, there) = (Run(model(Device.Cpu), options), Run(model(device), options));
        foreach (var (step, (expected, actual)) in here.Zip(there).Index())
            actual.MustEqual(expected, tolerance, $"step {step + 1}");
        string[] kernels = ["embedding_forward", "norm_forward", "attention_forward", "head_tile", "head_gradient", "attention_key_backward",
            "norm_backward", "optimizer_step"];
        Assert.Empty(kernels.Except(StandInDevice.Launched));
    }

    private static List<StepResult> Run(Decoder model, Func<TokenBatch, ForwardOptions>? options)
    {
        using var _ = model;
        using var optimizer = new AdamW(model.Parameters, 0.9, 0.999, 1e-8, 0.1);
        var (rows, results) = (Tiny.Rows(3, 4), new List<StepResult>());
        for (var step = 0; step < 2; step++)
        {
            results.Add(Tiny.Step(model, s_method, Tiny.Whole(rows, s_method, 64), options));
            optimizer.Step(0.01, 0.5);
        }
        return results;
    }

    [Theory, InlineData("llama", 1), InlineData("mixtral", 3)]
    public void A_step_waits_for_the_device_where_log_probabilities_are_read_and_experts_are_chosen(string kind, int waits)
    {
        var device = StandInDevice.Need();
        using var model = Tiny.Model(kind, dtype: DType.Float32, device: device);
        var work = Tiny.Whole(Tiny.Rows(3, 4), s_method, 4096);
        Assert.Equal(1, work.Groups.Sum(group => group.Bins.Count));
        var pass = new LossPass { Training = true, Metrics = new MetricSums() };
        var before = StandInDevice.Waits;
        StepSums.Run(model, s_method, work.Groups, pass);
        Assert.Equal(waits, StandInDevice.Waits - before);
    }

    [Fact]
    public void Answers_are_those_of_the_cpu()
    {
        var device = StandInDevice.Need();
        int[][] prompts = [[3, 1, 4, 1, 5], [3, 1, 4], [9, 2]];
        Assert.Equal(Tokens(Device.Cpu), Tokens(device));

        string Tokens(Device place)
        {
            using var model = Tiny.Model("llama", dtype: DType.Float32, device: place);
            var answers = new Generator(model) { TokensAtOnce = 4 }.Generate(prompts, new() { Temperature = 0, MaxNewTokens = 5 });
            return string.Join("; ", answers.Select(answer => string.Join(' ', answer.Tokens)));
        }
    }
}
