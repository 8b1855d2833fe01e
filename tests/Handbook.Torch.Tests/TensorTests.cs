using Handbook.Torch.Fused;

namespace Handbook.Torch.Tests;

public sealed class TensorTests
{
    [Fact]
    public void Operators_are_reached_by_name_and_give_their_results()
    {
        using var scope = TensorScope.Enter();
        var a = Tensor.From([1.0, 2.0, 3.0, 4.0], 2, 2);
        var b = Tensor.From([1.0, 0.0, 0.0, 2.0], 2, 2);
        Assert.Equal([1.0, 4.0, 3.0, 8.0], a.Mm(b).ToArray<double>());
        Assert.Equal(10.0, a.Sum().ToScalar());
        Assert.Equal([3.0, 7.0], a.Sum(1).ToArray<double>());
        Assert.Equal(2, Tensor.Cat([a, b]).Dims);
        Assert.Equal([4L, 2L], Tensor.Cat([a, b]).Shape);
    }

    [Fact]
    public void A_failure_names_operator_shapes_and_types()
    {
        using var scope = TensorScope.Enter();
        var a = Tensor.Zeros(DType.Float32, 2, 3);
        var failure = Assert.Throws<TorchException>(() => a.Mm(a));
        Assert.Contains("aten::mm(float32[2, 3], float32[2, 3])", failure.Message);
        Assert.Contains("cannot be multiplied", failure.Message);
    }

    [Fact]
    public void An_absent_operator_is_answered_by_name()
    {
        var failure = Assert.Throws<TorchException>(() => TorchOperator.Find("aten::no_such_operator"));
        Assert.Contains("aten::no_such_operator", failure.Message);
        Assert.Null(TorchOperator.TryFind("aten::no_such_operator"));
    }

    [Fact]
    public void A_scope_frees_what_it_made_and_keeps_what_is_kept()
    {
        var before = Tensor.LiveCount;
        Tensor kept;
        using (var outer = TensorScope.Enter())
        {
            using (var inner = TensorScope.Enter())
            {
                var a = Tensor.Zeros(DType.Float32, 4);
                kept = inner.Keep(a + 1);
            }
            Assert.Equal(before + 1, Tensor.LiveCount);
            Assert.Equal(4.0, kept.Sum().ToScalar());
        }
        Assert.Equal(before, Tensor.LiveCount);
        Assert.Throws<ObjectDisposedException>(() => kept.Sum());
    }

    [Fact]
    public void Backward_fills_the_gradients_of_leaves()
    {
        using var scope = TensorScope.Enter();
        var x = Tensor.From([1.0, 2.0, 3.0]);
        x.RequiresGrad = true;
        (x * x).Sum().Backward();
        Assert.Equal([2.0, 4.0, 6.0], x.Grad!.ToArray<double>());
    }

    [Fact]
    public void Nothing_is_recorded_while_gradients_are_off()
    {
        using var scope = TensorScope.Enter();
        var x = Tensor.From([1.0]);
        x.RequiresGrad = true;
        using (GradMode.Disabled())
            Assert.False((x * 2).RequiresGrad);
        Assert.True((x * 2).RequiresGrad);
    }

    private sealed class Cube : AutogradNode
    {
        private Tensor _x = null!;

        public static int Released { get; private set; }

        public static Tensor Apply(Tensor x)
        {
            using var scope = TensorScope.Enter();
            var needed = IsNeeded(x);
            Tensor y;
            using (GradMode.Disabled())
                y = x * x * x;
            if (needed)
            {
                var node = new Cube();
                node._x = node.Save(x);
                node.Attach([x], y);
            }
            return scope.Keep(y);
        }

        protected override Tensor?[] Backward(Tensor?[] gradients) => [gradients[0]! * 3 * _x * _x];

        protected override void Release()
        {
            Released++;
            base.Release();
        }
    }

    [Fact]
    public void A_node_written_in_csharp_takes_part_in_the_graph()
    {
        var before = Tensor.LiveCount;
        var released = Cube.Released;
        using (TensorScope.Enter())
        {
            var x = Tensor.From([2.0, -1.0]);
            x.RequiresGrad = true;
            var loss = (Cube.Apply(x) * 2 + Cube.Apply(x)).Sum();      // two uses: their gradients add up
            Assert.Equal(21.0, loss.ToScalar());
            loss.Backward();
            Assert.Equal([36.0, 9.0], x.Grad!.ToArray<double>());
        }
        Assert.Equal(released + 2, Cube.Released);
        Assert.Equal(before, Tensor.LiveCount);
    }

    private sealed class Broken : AutogradNode
    {
        public static Tensor Apply(Tensor x)
        {
            Tensor y;
            using (GradMode.Disabled())
                y = x + 1;
            new Broken().Attach([x], y);
            return y;
        }

        protected override Tensor?[] Backward(Tensor?[] gradients) =>
            throw new InvalidOperationException("the backward of this node fails");
    }

    [Fact]
    public void An_exception_in_a_csharp_backward_arrives_at_the_caller()
    {
        using var scope = TensorScope.Enter();
        var x = Tensor.From([2.0]);
        x.RequiresGrad = true;
        var y = Broken.Apply(x).Sum();
        var failure = Assert.Throws<InvalidOperationException>(() => y.Backward());
        Assert.Equal("the backward of this node fails", failure.Message);
    }

    [Fact]
    public void The_error_of_a_call_belongs_to_that_call_whatever_other_threads_do()
    {
        Parallel.For(1, 9, new ParallelOptions { MaxDegreeOfParallelism = 4 }, number =>
        {
            using var scope = TensorScope.Enter();
            for (var i = 0; i < 40; i++)
            {
                var failure = Assert.Throws<TorchException>(() => Tensor.Zeros(DType.Float32, number, 2).Mm(Tensor.Zeros(DType.Float32, 3,
                    number)));
                Assert.Contains($"({number}x2 and 3x{number})", failure.Message, StringComparison.Ordinal);
            }
        });
    }

    [Fact]
    public void An_exception_in_a_node_within_a_recomputed_block_keeps_its_type_and_text()
    {
        using var scope = TensorScope.Enter();
        var x = Tensor.From([2.0]);
        x.RequiresGrad = true;
        var y = Recomputed.Run(inputs => [Broken.Apply(inputs[0]!)], x)[0]!;
        var failure = Assert.Throws<InvalidOperationException>(() => y.Backward());
        Assert.Equal("the backward of this node fails", failure.Message);
    }

    [Fact]
    public unsafe void Foreign_memory_is_wrapped_without_a_copy_and_released()
    {
        var memory = GC.AllocateArray<float>(4, pinned: true);
        memory[2] = 7;
        var weak = Wrap(memory);
        GC.Collect();
        Assert.True(weak is not null);

        static WeakReference Wrap(float[] memory)
        {
            using var scope = TensorScope.Enter();
            var owner = new object();
            fixed (float* data = memory)
            {
                var tensor = Tensor.Wrap(data, DType.Float32, [2, 2], owner);
                Assert.Equal(7.0, tensor.Sum().ToScalar());
                memory[0] = 1;
                Assert.Equal(8.0, tensor.Sum().ToScalar());
            }
            return new WeakReference(owner);
        }
    }

    [Fact]
    public void Memory_statistics_follow_the_tensors()
    {
        var before = TorchRuntime.Memory.Used;
        using (TensorScope.Enter())
        {
            Tensor.Zeros(DType.Float32, 1 << 20);
            Assert.InRange(TorchRuntime.Memory.Used - before, 4 << 20, (4 << 20) + (1 << 17));
        }
        Assert.InRange(TorchRuntime.Memory.Used - before, -(1 << 16), 1 << 16);
    }
}
