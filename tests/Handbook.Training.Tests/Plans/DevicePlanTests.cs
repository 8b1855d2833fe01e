using Handbook.Base.Progress;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Torch.Tests.Cuda;
using Handbook.Training.Plans;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Plans;

/// <summary>Where a model is computed that is asked and not trained, where there is a device beside the CPU.</summary>
[Collection("tensors"), Trait("needs", "nvrtc")]
public sealed class DevicePlanTests : IDisposable
{
    private static readonly DeviceWish s_any = new(UseCpu: false, "--use-cpu");

    private readonly Device _device = StandInDevice.Need();
    private readonly TemporaryFolder _folder = new();

    public DevicePlanTests() => ComputeDevice.StandIn = new(_device, "A card", Memory: 1 << 20, Proof: "untried");

    public void Dispose()
    {
        ComputeDevice.StandIn = null;
        _folder.Dispose();
    }

    private ParameterPlan Plan(DType compute)
    {
        if (!Directory.Exists(_folder["model"]))
            using (var model = Tiny.Model("llama", dtype: DType.Float32))
                Tiny.Save(model, _folder["model"], DType.BFloat16);
        using var weights = ModelWeights.Open(_folder["model"], Tiny.Config("llama"), fused: true);
        return ParameterPlan.Frozen(weights, compute);
    }

    private static DevicePlan Choose(ParameterPlan plan, DeviceWish wish) => DevicePlan.Of(plan, Tiny.Config("llama").Decoder, wish);

    [Fact]
    public void It_is_the_card_unless_the_CPU_is_wished()
    {
        var chosen = Choose(Plan(DType.Float32), s_any);
        Assert.Equal((_device, "A card"), (chosen.Device.Device, chosen.Device.Name));
        Assert.Equal(["GPUs are untried; --use-cpu computes on the CPU"], chosen.Notes);
        var wished = Choose(Plan(DType.Float32), s_any with { UseCpu = true });
        Assert.Equal((Device.Cpu, 0), (wished.Device.Device, wished.Notes.Count));
    }

    [Fact] // on the CPU weights are mapped from their file, and widened where they are read
    public void Weights_that_do_not_fit_stay_on_the_CPU()
    {
        var plan = Plan(DType.Float32);
        var (wide, narrow) = (plan.On(_device).ResidentBytes, Plan(DType.BFloat16).On(_device).ResidentBytes);
        ComputeDevice.StandIn = ComputeDevice.StandIn! with { Memory = (wide + narrow) / 2 };
        var chosen = Choose(plan, s_any);
        Assert.True(chosen.Device.Device.IsCpu);
        Assert.StartsWith("A card is not used: the model's weights take ", Assert.Single(chosen.Notes), StringComparison.Ordinal);
        Assert.EndsWith("; with products in bfloat16 they take less", chosen.Notes[0], StringComparison.Ordinal);
        Assert.Equal(_device, Choose(Plan(DType.BFloat16), s_any).Device.Device);
    }

    [Fact]
    public void A_loader_says_where_and_the_model_answers_there()
    {
        _ = Plan(DType.Float32);
        Tiny.Config("llama").Save(_folder["model"]);
        var source = ModelSource.Find(_folder["model"]);
        var heard = new Lines();
        string[] answers = [.. new[] { false, true }.Select(useCpu =>
        {
            using var model = source.Load(source.Config(), DType.Float32, load: DevicePlan.Loader(source, heard, s_any with { UseCpu = useCpu }));
            Assert.Equal(useCpu, model.Device.IsCpu);
            return string.Join(' ', new Generator(model).Generate([[3, 1, 4]], new() { Temperature = 0, MaxNewTokens = 4 })[0].Tokens);
        })];
        Assert.Equal(answers[0], answers[1]);
        Assert.Equal(["computes on A card (" + _device + ", 1.0 MB), products in float32", "note: GPUs are untried; --use-cpu computes on the CPU"],
            heard.Heard);
    }

    private sealed class Lines : IWorkObserver
    {
        public List<string> Heard { get; } = [];

        public void Said(string text) => Heard.Add(text);
    }
}
