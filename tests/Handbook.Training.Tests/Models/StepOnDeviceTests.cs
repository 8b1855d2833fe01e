using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Models.Serving;
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

    [Theory, InlineData("llama", null, 0.0), InlineData("llama", AdapterKind.Lora, 1.3)]
    public void Answers_are_those_of_the_cpu(string kind, AdapterKind? adapter, double temperature)
    {
        var device = StandInDevice.Need();
        var before = Tensor.LiveCount;
        var expected = Answers(kind, adapter, temperature, Device.Cpu);
        StandInDevice.Launched.Clear();
        var waits = StandInDevice.Waits;
        var actual = Answers(kind, adapter, temperature, device);
        waits = StandInDevice.Waits - waits;

        Assert.Equal(expected.Select(Text), actual.Select(Text));
        foreach (var (here, there) in expected.Zip(actual))
            foreach (var (a, b) in here.LogProbs.Zip(there.LogProbs))
                Assert.Equal(a, b, 1e-4);           // float32 sums in another order
        Assert.Equal(before, Tensor.LiveCount);
        Assert.Empty(((string[])["cache_append", "attention_decode", "row_linear"]).Except(StandInDevice.Launched));
        // once for each token that is drawn, and once for each part of prompts that is read
        if (kind is not ("mixtral" or "llama4_text"))      // whose experts are chosen by the host's count of rows
            Assert.InRange(waits, 1, MostTokens + 4);

        static string Text(Answer answer) => $"{string.Join(' ', answer.Tokens)} {answer.Finish}";
    }

    [Theory, Trait("speed", "slow"), InlineData("mixtral", null), InlineData("gpt2", null), InlineData("mistral", null),
        InlineData("llama4_text", null), InlineData("llama", AdapterKind.Qlora), InlineData("llama", AdapterKind.Dora)]
    public void Answers_of_others_are_those_of_the_cpu(string kind, AdapterKind? adapter) => Answers_are_those_of_the_cpu(kind, adapter, 0.9);

    [Fact, Trait("speed", "slow")]
    public async Task A_server_answers_for_a_model_and_its_adapter_in_one_pass_as_the_cpu_does()
    {
        var device = StandInDevice.Need();
        var expected = await Served(Device.Cpu);
        Assert.Equal(4, expected.Distinct().Count());
        Assert.Equal(expected, await Served(device));

        static async Task<string[]> Served(Device place)
        {
            using var adapted = Tiny.Adapted("llama", AdapterKind.Lora, dtype: DType.Float32, device: place);
            Decoder[] views = [adapted.With(), adapted.With("default")];
            Decoder.Join(views);
            Assert.NotNull(views[0].Joint);
            using var engine = new AnswerEngine(new() { MaxRows = 4, TokensAtOnce = 3 });
            return await Task.WhenAll(Enumerable.Range(0, 4).Select(i => Ask(engine, views[i % 2], [3, 1, 4, 1, 5 + i / 2])));
        }

        static Task<string> Ask(AnswerEngine engine, Decoder model, int[] prompt)
        {
            var (said, end) = ("", new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously));
            engine.Submit(new()
            {
                Model = model,
                Tokens = prompt,
                Sampling = new() { MaxNewTokens = MostTokens, Temperature = 0.8, Seed = 2 },
                OnToken = (_, _) => true,
                OnAnswer = (_, answer) => said = string.Join(' ', answer.Tokens),
                OnEnd = why =>
                {
                    if (why is null)
                        end.SetResult(said);
                    else
                        end.SetException(why);
                },
            });
            return end.Task;
        }
    }

    private const int MostTokens = 6;

    private static Answer[] Answers(string kind, AdapterKind? adapter, double temperature, Device place)
    {
        using var model = adapter is { } one ? Tiny.Adapted(kind, one, dtype: DType.Float32, device: place)
            : Tiny.Model(kind, dtype: DType.Float32, device: place);
        var options = new SamplingOptions { Temperature = temperature, MaxNewTokens = MostTokens, TopK = 12, TopP = 0.95, Seed = 5 };
        SampleRequest[] requests = [new([3, 1, 4, 1, 5], [0, 1]), new([3, 1, 4], [2]), new([9, 2], [3])];
        return [.. new Generator(model) { TokensAtOnce = 4 }.Sample(requests, options).SelectMany(group => group)];
    }
}
