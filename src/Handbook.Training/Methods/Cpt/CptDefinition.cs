using Handbook.Data.Formats;
using Handbook.Training.Methods.Sft;

namespace Handbook.Training.Methods.Cpt;

/// <summary>Continued pretraining: plain texts, every token predicted.</summary>
internal sealed class CptDefinition : TextDefinition
{
    public override string Summary => "Continue pretraining a model on plain text, or resume from the last checkpoint";

    public override IReadOnlyList<string> OtherNames => ["pretrain", "pretraining"];

    public override RowUse Use => RowUse.Pretraining;
}
