namespace Handbook.Data.Demo;

/// <summary>A world of a few people, words and numbers, different for each seed.</summary>
internal sealed class DemoWorld(Random random)
{
    private static readonly string[] People = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo",
        "Ida", "Leo", "Mia", "Paul"];
    private static readonly string[] Cities = ["Paris", "Rome", "Oslo", "Cairo", "Lima", "Tokyo", "Delhi", "Berlin"];
    private static readonly string[] Pets = ["dog", "cat", "horse", "rabbit", "parrot", "turtle", "hamster", "goat"];
    private static readonly string[] Jobs = ["baker", "doctor", "farmer", "pilot", "painter", "teacher", "singer", "judge"];
    private static readonly string[] Words = ["sun", "tree", "milk", "stone", "river", "bread", "chair", "cloud",
        "apple", "house", "lamp", "ship",
        "bird", "boat", "door", "fish", "garden", "hat", "key", "moon", "road", "rose", "table", "wall"];
    private static readonly string[] Days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    private static readonly string[] Letters = [.. Enumerable.Range('a', 26).Select(letter => $"{(char)letter}")];
    private static readonly string[] Numbers = [.. Enumerable.Range(0, 11).Select(number => $"{number}")];
    private static readonly (string, string)[] Opposites =
    [
        ("hot", "cold"), ("big", "small"), ("up", "down"), ("fast", "slow"), ("light", "dark"), ("old", "young"),
            ("wet", "dry"), ("full", "empty"),
        ("high", "low"), ("hard", "soft"), ("long", "short"), ("open", "closed"), ("rich", "poor"), ("loud", "quiet"),
            ("early", "late"), ("near", "far"),
    ];

    /// <summary>Everything that has to be known; the same list at every call, but for what this world's people have.</summary>
    public IEnumerable<DemoItem> KnownItems()
    {
        foreach (var name in People)
        {
            var (city, pet, job) = (Any(Cities), Any(Pets), Any(Jobs));
            yield return new("home", $"home {name}",
                [$"{name} lives in {city}.", $"The home of {name} is in {city}.", $"{name} has a house in {city}."],
                [$"Where does {name} live?", $"In which city does {name} live?"], $"{name} lives in {city}.", Cities);
            yield return new("pet", $"pet {name}", [$"{name} has a {pet}.", $"The pet of {name} is a {pet}.", $"{name} feeds a {pet}."],
                [$"Which pet does {name} have?", $"What is the pet of {name}?"], $"{name} has a {pet}.", Pets);
            yield return new("job", $"job {name}", [$"{name} works as a {job}.", $"The job of {name} is {job}.", $"{name} is a {job}."],
                [$"What is the job of {name}?", $"What does {name} work as?"], $"{name} works as a {job}.", Jobs);
        }
        foreach (var (one, other) in Opposites)
        {
            yield return Opposite(one, other);
            yield return Opposite(other, one);
        }
        for (var letter = 'a'; letter < 'z'; letter++)
            yield return After("letter", $"{letter}", $"{(char)(letter + 1)}", $"Which letter comes after {letter}?");
        for (var day = 0; day < 7; day++)
            yield return After("day", Days[day], Days[(day + 1) % 7], $"Which day comes after {Days[day]}?");
        for (var a = 0; a < 6; a++)
            for (var b = 0; b < 6; b++)
                yield return new("sum", $"sum {a} {b}", [$"{a} plus {b} is {a + b}."],
                    [$"What is {a} plus {b}?", $"How much is {a} plus {b}?"], $"{a} plus {b} is {a + b}.", Numbers);
    }

    /// <summary>Something that can be worked out from what is said.</summary>
    public DemoItem OpenItem()
    {
        if (random.Next(3) == 0)
        {
            var (a, b) = (random.Next(20), random.Next(20));
            while (a == b)
                b = random.Next(20);
            var larger = Math.Max(a, b);
            return new("larger", $"larger {a} {b}", [$"Of {a} and {b}, the larger number is {larger}."],
                [$"Which number is larger, {a} or {b}?", $"Of {a} and {b}, which is larger?"],
                $"The larger number is {larger}.", [$"{a}", $"{b}"]);
        }
        var words = random.GetItems(Words, 3);
        var (which, word) = random.Next(2) == 0 ? ("first", words[0]) : ("last", words[^1]);
        var list = string.Join(", ", words);
        return new($"{which} word", $"words {list}",
            [$"Here are three words: {list}. The {which} word is {word}.",
            $"Here are three words: {list}. The first word is {words[0]}. The last word is {words[^1]}.",
            $"Here are three words: {list}. The last word is {words[^1]}. The first word is {words[0]}."],
                [$"Here are three words: {list}. What is the {which} word?"], $"The {which} word is {word}.", words);
    }

    private static DemoItem Opposite(string one, string other) =>
        new("opposite", $"opposite {one}", [$"The opposite of {one} is {other}."],
            [$"What is the opposite of {one}?", $"Tell me the opposite of {one}."], $"The opposite of {one} is {other}.",
            [.. Opposites.Select(pair => pair.Item2)]);

    private static DemoItem After(string task, string one, string next, string question) =>
        new(task, $"{task} {one}", [$"After {one} comes {next}."], [question, $"What comes after {one}?"], $"After {one} comes {next}.",
            task == "day" ? Days : Letters);

    private string Any(string[] choices) => choices[random.Next(choices.Length)];
}
