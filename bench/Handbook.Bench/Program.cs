using Handbook.Bench;
using Handbook.Torch;

// handbook-bench step SHAPE DTYPE [STEPS]     one line of JSON: tokens per second, peak bytes, share of the product rate
var shape = args[1] == "135m" ? Shape.SmolLm135M : Shape.Llama15M;
var bf16 = args[2] == "bf16";
var steps = args.Length > 3 ? int.Parse(args[3]) : 6;
Console.Error.WriteLine(TorchRuntime.Description is { Length: > 0 } described ? described : TorchRuntime.Version);
var rate = MatMulBench.Rate(bf16 ? DType.BFloat16 : DType.Float32);
var batches = new[] { StepBench.FullRows(shape, 1), StepBench.FullRows(shape, 2) };
var (speed, peak) = StepBench.Run(shape, bf16, batches, 3, steps);
Console.WriteLine($"{shape.Name} {args[2]}: {speed:f0} tokens/s, peak {peak / 1e6:f0} MB, products {rate:f0} GFLOP/s, share {speed * shape.ProductFlops() / 1e9 / rate:f3}");
