using Handbook.Base;
using Handbook.Data.RandomNumbers;

namespace Handbook.Data.Tests;

public sealed class RandomOrderTests
{
    [Fact]
    public void Torch_permutations_equal_those_of_torch() => Check("torch_randperm.json", TorchRandom.Permutation);

    [Fact]
    public void Numpy_permutations_equal_those_of_numpy() => Check("numpy_permutation.json", NumpyRandom.Permutation);

    [Fact]
    public void Python_shuffles_equal_those_of_python() => Check("python_shuffle.json", (n, seed) =>
    {
        var order = Enumerable.Range(0, n).ToArray();
        new PythonRandom(seed).Shuffle<int>(order);
        return order;
    });

    [Theory] // the specification's own table
    [InlineData(42, 10, new[] { 5, 6, 0, 7, 3, 2, 4, 9, 1, 8 })]
    [InlineData(0, 10, new[] { 4, 6, 2, 7, 3, 5, 9, 0, 8, 1 })]
    [InlineData(42, 100, new[] { 59, 21, 56, 18, 33, 42, 50, 27, 92, 71, 2, 25 })]
    [InlineData(0, 100, new[] { 82, 36, 20, 5, 93, 16, 94, 52, 72, 90, 83, 13 })]
    [InlineData(42, 300, new[] { 261, 293, 61, 253, 166, 26, 127, 284, 19, 254, 191, 290 })]
    [InlineData(0, 300, new[] { 36, 291, 128, 116, 266, 0, 107, 272, 210, 5, 168, 140 })]
    public void Numpy_permutations_equal_the_specification(long seed, int n, int[] first) =>
        Assert.Equal(first, NumpyRandom.Permutation(n, seed)[..first.Length]);

    [Fact]
    public void Numpy_doubles_equal_the_specification()
    {
        Assert.Equal([0.7739560485559633, 0.4388784397520523], NumpyRandom.Doubles(2, 42));
        Assert.Equal([0.6369616873214543, 0.2697867137638703], NumpyRandom.Doubles(2, 0));
    }

    [Fact]
    public void A_negative_seed_is_refused() =>
        Assert.Contains("seed is -1, but must be 0 or more", Assert.Throws<InputException>(() => NumpyRandom.Permutation(3, -1)).Message);

    private static void Check(string file, Func<int, long, int[]> permutation)
    {
        var count = 0;
        foreach (var golden in GoldenCases.Read(file))
        {
            var order = permutation(golden.GetProperty("n").GetInt32(), golden.GetProperty("seed").GetInt64());
            Assert.Equal(golden.Ints("first"), order[..Math.Min(16, order.Length)]);
            Assert.Equal(golden.GetProperty("checksum").GetInt64(), GoldenCases.Checksum(order));
            count++;
        }
        Assert.True(count >= 20, $"{file} has {count} cases");
    }
}
