using System.Text.Json;
using Handbook.Base;
using Handbook.Bench;
using Handbook.Bench.Gpu;
using Handbook.Torch;

const string Help = """
    usage: handbook-bench COMMAND

      run [--quick] [--only NAME]         everything, or the rows whose names hold NAME, beside the peers: a table, and
                                          bench/results/latest.json
      step SHAPE DTYPE STEPS [LENGTHS]    our training step, one JSON object
      memory SHAPE DTYPE OPTIM STEPS [LIMIT]
                                          steps with an optimiser, in LIMIT bytes of memory besides files, one JSON object
      adapter SHAPE DTYPE STEPS KIND [bf16 [RANK [short]]]
                                          the step of full, lora or qlora over a model in a file, one JSON object
      dpo SHAPE DTYPE PAIRS [separate]    an epoch of DPO on pairs of these lengths, reference pass included, one JSON object
      sample SHAPE DTYPE                  sampling sixteen rows at a time, one JSON object
      serve SHAPE DTYPE                   answers of one client and of sixteen, one JSON object
      product SHAPE                       the float32 products of a step beside those of libtorch's BLAS, one JSON object
      family KIND DTYPE STEPS             steps of one kind of layer: tokens/s, the share of the rate of products, and GFLOP of
                                          products in a second of one core
      rank SHAPE DTYPE STEPS STAGE        as one of the processes that RANK and WORLD_SIZE name, one JSON object
      gpu test|bench [--dry] [--seconds N] [--only STAGE] [--out FILE]
                                          all that is to be found out on a GPU, or with --dry on a device that stands in for one
      tokenize TOKENIZER CORPUS           our tokenizer on one thread, one JSON object

    SHAPE is 15m, 135m, 360m or 1.1b, DTYPE f32 or bf16, STAGE a stage of sharding from 0 to 3; LENGTHS, PAIRS and CORPUS are files.
    """;
if (args.Length == 0 || args.Any(word => word is "--help" or "-h" or "-?"))
{
    Console.WriteLine(Help);
    return args.Length == 0 ? 2 : 0;
}
try
{
    Processor.Apply();
}
catch (InputException problem)
{
    Console.Error.WriteLine($"error: {problem.Message}");
    return 2;
}
switch (args)
{
    case ["run", .. var options]:
        return Comparison.Run(options);
    case ["step", var shape, var dtype, var steps, .. var rest]:
        Console.WriteLine(JsonSerializer.Serialize(StepBench.Measure(Shape.Of(shape), dtype == "bf16", int.Parse(steps),
            rest is [var lengths] ? lengths : null)));
        return 0;
    case ["memory", var shape, var dtype, var optim, var steps, .. var rest]:
        Console.WriteLine(JsonSerializer.Serialize(MemoryBench.Measure(Shape.Of(shape), dtype == "bf16", optim, int.Parse(steps),
            rest is [var limit] ? long.Parse(limit) : 0)));
        return 0;
    case ["adapter", var shape, var dtype, var steps, var kind, .. var rest]:
        Console.WriteLine(JsonSerializer.Serialize(AdapterBench.Measure(Shape.Of(shape), dtype == "bf16", int.Parse(steps), kind,
            rest is ["bf16", ..] ? DType.BFloat16 : DType.Float32, rest is [_, var rank, ..] ? int.Parse(rank) : AdapterBench.Rank,
            rest.Contains("short"))));
        return 0;
    case ["dpo", var shape, var dtype, var pairs, .. var rest]:
        Console.WriteLine(JsonSerializer.Serialize(DpoBench.Measure(Shape.Of(shape), dtype == "bf16", pairs,
            shared: !rest.Contains("separate"))));
        return 0;
    case ["sample", var shape, var dtype]:
        Console.WriteLine(JsonSerializer.Serialize(SampleBench.Measure(Shape.Of(shape), dtype == "bf16")));
        return 0;
    case ["serve", var shape, var dtype]:
        Console.WriteLine(JsonSerializer.Serialize(ServeBench.Measure(Shape.Of(shape), dtype == "bf16")));
        return 0;
    case ["product", var shape]:
        Console.WriteLine(JsonSerializer.Serialize(ProductBench.Measure(Shape.Of(shape))));
        return 0;
    case ["family", var kind, var dtype, var steps]:
        Console.WriteLine(FamilyBench.Measure(kind, dtype == "bf16", int.Parse(steps)));
        return 0;
    case ["rank", var shape, var dtype, var steps, var stage]:
        Console.WriteLine(JsonSerializer.Serialize(RanksBench.Rank(Shape.Of(shape), dtype == "bf16", int.Parse(steps), int.Parse(stage))));
        return 0;
    case ["gpu", "stage", var stage, var seconds, .. var rest]:
        return GpuCommand.RunStage(stage, rest.Contains("--dry"), int.Parse(seconds));
    case ["gpu", "rank", var which, var world, var port, .. var rest]:
        return GpuRanks.Run(int.Parse(which), int.Parse(world), int.Parse(port), rest.Contains("--dry"));
    case ["gpu", "run", var folder, var output, .. var rest]:
        return GpuRuns.Run(folder, output, rest);
    case ["gpu", "test" or "bench", .. var rest]:
        try
        {
            return GpuCommand.Run(args[1], rest);
        }
        catch (InputException problem)
        {
            Console.Error.WriteLine($"error: {problem.Message}");
            return 2;
        }
    case ["tokenize", var tokenizer, var corpus]:
        Console.WriteLine(JsonSerializer.Serialize(TokenizeBench.Measure(tokenizer, corpus)));
        return 0;
    default:
        Console.Error.WriteLine($"error: no such command: {string.Join(' ', args)}");
        Console.Error.WriteLine(Help);
        return 2;
}
