using Handbook.Cli.Progress;
using Handbook.Training.Metrics;

namespace Handbook.Cli.Tests.Progress;

public sealed class MetricsReportTests
{
    [Fact] // the layout is that of the Python trainer; 1.99e12 / 2^30 = 1853.3
    public void The_block_is_sorted_and_aligned() => Assert.Equal(
        """
        ***** train metrics *****
          epoch                    =        1.0
          total_flos               =     1853GF
          train_loss               =     0.1235
          train_mem_peak           =        3MB
          train_runtime            = 1:01:01.99
          train_samples            =        250
          train_samples_per_second =      12.34

        """,
        MetricsReport.Format("train", new MetricSet
        {
            ["train_loss"] = 0.12345678,
            ["train_runtime"] = 3661.999,
            ["train_samples"] = 250,
            ["train_samples_per_second"] = 12.34,
            ["total_flos"] = 1.99e12,
            ["epoch"] = 1.0,
            ["train_mem_peak"] = 3 << 20,
        }));
}
