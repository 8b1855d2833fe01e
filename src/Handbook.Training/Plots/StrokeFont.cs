using System.Globalization;

namespace Handbook.Training.Plots;

/// <summary>A small lettering of our own, drawn with a round pen, so that pixels need no font of the machine.</summary>
/// <remarks>
/// Units: baseline 0, capitals 14 high, small letters 10, descenders −4; y upwards. A glyph is <c>advance | stroke ; stroke …</c>;
/// <c>L x y x y …</c> is a line, <c>E cx cy rx ry a b</c> an arc of an ellipse from angle a to b in degrees,
/// counter-clockwise where b is larger.
/// </remarks>
internal static class StrokeFont
{
    /// <summary>Width of the pen over font size.</summary>
    public const double Weight = 0.078;

    public const double BoldWeight = 0.115;

    // Font size over units: capitals are about 0.71 of the font size, as in common faces.
    private const double Units = 0.71 / 14;

    private const double Tracking = 0.9;

    private static readonly Dictionary<char, (double Advance, PlotPoint[][] Strokes)> Glyphs = Source.ReplaceLineEndings("\n")
        .Split('\n', StringSplitOptions.RemoveEmptyEntries)
        .ToDictionary(line => line[0], line => Parse(line[2..]));

    public static double Width(string text, double size) => text.Sum(c => Glyph(c).Advance + Tracking) * size * Units;

    /// <summary>The strokes of a line of text that begins at a point on the baseline.</summary>
    public static IEnumerable<IReadOnlyList<PlotPoint>> Strokes(string text, PlotPoint start, double size)
    {
        var scale = size * Units;
        var x = start.X + scale;    // a pen's width of air before the first stroke
        foreach (var c in text)
        {
            var (advance, strokes) = Glyph(c);
            foreach (var stroke in strokes)
                yield return Array.ConvertAll(stroke, point => new PlotPoint(x + point.X * scale, start.Y - point.Y * scale));
            x += (advance + Tracking) * scale;
        }
    }

    // A character without a drawing is an empty box.
    private static (double Advance, PlotPoint[][] Strokes) Glyph(char c) => Glyphs.TryGetValue(c, out var glyph) ? glyph : Glyphs['\u25A1'];

    private static (double, PlotPoint[][]) Parse(string glyph)
    {
        var parts = glyph.Split('|');
        var strokes = parts[1].Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Select(stroke =>
        {
            var n = stroke[1..].Split(' ', StringSplitOptions.RemoveEmptyEntries)
                .Select(word => double.Parse(word, CultureInfo.InvariantCulture)).ToArray();
            return stroke[0] == 'L' ? Line(n) : Arc(n);
        });
        return (double.Parse(parts[0], CultureInfo.InvariantCulture), [.. strokes]);
    }

    private static PlotPoint[] Line(double[] n) => [.. n.Chunk(2).Select(pair => new PlotPoint(pair[0], pair[1]))];

    private static PlotPoint[] Arc(double[] n)
    {
        var steps = Math.Max(3, (int)Math.Ceiling(Math.Abs(n[5] - n[4]) / 15));
        return [.. Enumerable.Range(0, steps + 1).Select(i =>
        {
            var angle = (n[4] + (n[5] - n[4]) * i / steps) * Math.PI / 180;
            return new PlotPoint(n[0] + n[2] * Math.Cos(angle), n[1] + n[3] * Math.Sin(angle));
        })];
    }

    private const string Source = """
          5|
        ! 4|L 1.4 14 1.4 4.6;L 1.4 .4 1.4 .5
        " 6.5|L 1 14 1 10;L 4.2 14 4.2 10
        # 12|L 3.4 0 5 14;L 7.4 0 9 14;L .6 9.4 10.6 9.4;L .2 4.6 10.2 4.6
        $ 11.3|E 4.8 10 4.2 3 30 270;E 4.8 3.8 4.6 3.2 90 -150;L 4.8 15.5 4.8 -1.5
        % 14|E 2.4 10.9 2.4 3.1 0 360;E 9.8 3.1 2.4 3.1 0 360;L 9.6 14 2.6 0
        & 12.5|L 10.6 0 2.8 9.4;E 4.9 11 2.6 2.9 200 -40;L 6.9 9.1 2 6;E 4.2 3.4 3.9 3.4 125 270;E 4.2 4.4 5.6 4.4 270 370
        ' 3.4|L 1 14 1 10
        ( 5.2|E 6 6 5 10 125 235
        ) 5.2|E -1.8 6 5 10 55 -55
        * 8|L 3.4 14 3.4 7.6;L .6 12.4 6.2 9.2;L .6 9.2 6.2 12.4
        + 10|L 4.2 1.6 4.2 9.6;L .2 5.6 8.2 5.6
        , 4|L 1.6 .6 .6 -2.6
        - 7|L .4 5.2 5 5.2
        . 4|L 1.2 .4 1.2 .5
        / 7.5|L 0 -2 5.6 15
        0 11|E 4.5 7 4.4 7 0 360
        1 11|L 1.4 11.2 5 14 5 0
        2 11|E 4.5 9.7 4.2 4.3 165 -38;L 7.8 7.05 .4 0 8.8 0
        3 11|E 4.3 10.7 3.7 3.3 150 -90;L 3 7.4 4.4 7.4;E 4.3 3.7 4.4 3.7 90 -150
        4 11|L 6.8 0 6.8 14 .1 4 9.2 4
        5 11|L 7.9 14 1.6 14 1 7.6;E 4.2 4.5 4.5 4.5 134 -148
        6 11|E 4.5 4.5 4.4 4.5 0 360;E 8 4.5 7.9 9.5 180 98
        7 11|L .4 14 8.8 14 3.2 0
        8 11|E 4.5 10.6 3.7 3.4 0 360;E 4.5 3.6 4.4 3.6 0 360
        9 11|E 4.5 9.5 4.4 4.5 0 360;E 1 9.5 7.9 9.5 0 -82
        : 4|L 1.2 .4 1.2 .5;L 1.2 8.6 1.2 8.7
        ; 4|L 1.6 .6 .6 -2.6;L 1.4 8.6 1.4 8.7
        < 10|L 8 10.4 .8 5.8 8 1.2
        = 10|L .4 8 8.2 8;L .4 3.6 8.2 3.6
        > 10|L .8 10.4 8 5.8 .8 1.2
        ? 9.5|E 4 10.3 3.7 3.7 165 -50;L 6.4 7.5 4.2 5.6 4.2 4.2;L 4.2 .4 4.2 .5
        @ 16|E 7 5.6 6.8 7.8 -60 300;E 6.8 5.4 3 3.4 0 360;L 9.8 8.8 9.8 4;E 11.8 4.4 2 2.4 180 350
        A 12.6|L 0 0 5.4 14 10.8 0;L 1.9 4.8 8.9 4.8
        B 11.6|L .8 0 .8 14 5 14;E 5 10.6 3.6 3.4 90 -90;L .8 7.2 5.5 7.2;E 5.5 3.6 3.9 3.6 90 -90;L .8 0 5.5 0
        C 13|E 6.6 7 6.2 7 45 315
        D 13.2|L 4.6 14 .8 14 .8 0 4.6 0;E 4.6 7 6.5 7 90 -90
        E 10.4|L 8.4 14 .8 14 .8 0 8.4 0;L .8 7.3 7.4 7.3
        F 9.8|L 8.4 14 .8 14 .8 0;L .8 7.1 7.2 7.1
        G 14|E 6.6 7 6.2 7 48 322;L 11.5 2.7 11.9 3.2 11.9 6.6 7.4 6.6
        H 12.6|L .8 0 .8 14;L 10 0 10 14;L .8 7.3 10 7.3
        I 3.6|L .9 0 .9 14
        J 8.6|L 6.2 14 6.2 4;E 3.2 4 3 4 0 -150
        K 10.8|L .8 0 .8 14;L 9 14 .8 5.4;L 3.6 8.4 9.6 0
        L 9.4|L .8 14 .8 0 8 0
        M 15.4|L .8 0 .8 14 6.8 3 12.8 14 12.8 0
        N 12.6|L .8 0 .8 14 10 0 10 14
        O 14.8|E 6.7 7 6.3 7 0 360
        P 10.8|L .8 0 .8 14 5.2 14;E 5.2 10.3 3.9 3.7 90 -90;L 5.2 6.6 .8 6.6
        Q 14.8|E 6.7 7 6.3 7 0 360;L 8.4 3.6 12.6 -1
        R 11.4|L .8 0 .8 14 5.2 14;E 5.2 10.3 3.9 3.7 90 -90;L 5.2 6.6 .8 6.6;L 5.2 6.6 9.6 0
        S 11.2|E 4.8 10.5 4.1 3.5 30 270;E 4.8 3.5 4.5 3.5 90 -150
        T 11.8|L 0 14 10.4 14;L 5.2 14 5.2 0
        U 12.6|L .8 14 .8 4.6;E 5.4 4.6 4.6 4.6 180 360;L 10 4.6 10 14
        V 12.2|L 0 14 5.3 0 10.6 14
        W 17.6|L 0 14 4 0 8 13 12 0 16 14
        X 11.2|L .3 0 9.5 14;L .3 14 9.5 0
        Y 11.8|L 0 14 5.1 6.8 10.2 14;L 5.1 6.8 5.1 0
        Z 11.2|L .6 14 9.2 14 .4 0 9.5 0
        [ 5.4|L 3.8 15.4 1 15.4 1 -3.2 3.8 -3.2
        \ 7.5|L 0 15 5.6 -2
        ] 5.4|L .4 15.4 3.2 15.4 3.2 -3.2 .4 -3.2
        ^ 9|L .6 9 3.8 14 7 9
        _ 9|L 0 -2.6 7.8 -2.6
        ` 5|L 1 14 3 11.4
        a 10.8|E 4.3 5 4.1 5 0 360;L 8.4 10 8.4 0
        b 10.6|L .8 14 .8 0;E 4.9 5 4.1 5 0 360
        c 9.4|E 4.7 5 4.3 5 45 315
        d 10.8|E 4.3 5 4.1 5 0 360;L 8.4 14 8.4 0
        e 10.2|L .5 5.1 8.8 5.1;E 4.65 5 4.2 5 0 318
        f 6|E 4.6 10.9 2.9 3.1 80 180;L 1.7 10.9 1.7 0;L 0 9.8 4.8 9.8
        g 10.8|E 4.3 5 4.1 5 0 360;L 8.4 10 8.4 -.6;E 4.4 -.6 4 3.5 0 -150
        h 10.8|L .8 0 .8 14;E 4.6 6 3.8 4 180 0;L 8.4 6 8.4 0
        i 3.6|L .9 0 .9 10;L .9 13.4 .9 13.5
        j 4.4|L 1.9 10 1.9 -1.4;E -.3 -1.4 2.2 2.5 0 -90;L 1.9 13.4 1.9 13.5
        k 9|L .8 0 .8 14;L 7.3 10 .8 4;L 3.1 6.3 7.7 0
        l 3.6|L .9 0 .9 14
        m 16.4|L .8 0 .8 10;E 4.1 6.5 3.3 3.5 180 0;L 7.4 6.5 7.4 0;E 10.7 6.5 3.3 3.5 180 0;L 14 6.5 14 0
        n 10.8|L .8 0 .8 10;E 4.6 6 3.8 4 180 0;L 8.4 6 8.4 0
        o 10.8|E 4.75 5 4.4 5 0 360
        p 10.6|L .8 10 .8 -4;E 4.9 5 4.1 5 0 360
        q 10.8|E 4.3 5 4.1 5 0 360;L 8.4 10 8.4 -4
        r 6.6|L .8 0 .8 10;E 4.4 6 3.6 4 180 78
        s 8.6|E 3.9 7.5 3.2 2.5 30 270;E 3.9 2.5 3.5 2.5 90 -150
        t 6.6|L 2 13.4 2 3;E 4.5 3 2.5 3 180 285;L 0 9.8 5.2 9.8
        u 10.8|L .8 10 .8 4;E 4.6 4 3.8 4 180 360;L 8.4 10 8.4 0
        v 9.6|L 0 10 4.1 0 8.2 10
        w 13.6|L 0 10 3.05 0 6.1 9.5 9.15 0 12.2 10
        x 9|L .3 0 7.4 10;L .3 10 7.4 0
        y 9.6|L 0 10 4.2 .4;L 8.3 10 3.2 -2.4 1.9 -3.8 .4 -4
        z 9|L .4 10 7.4 10 .3 0 7.6 0
        { 6|E 4.4 12 2 3.4 90 180;L 2.4 12 2.4 8;L 2.4 8 .8 6.1 2.4 4.2 2.4 .4;E 4.4 .2 2 3.4 180 270
        | 4|L 1.2 15.4 1.2 -3.4
        } 6|E 1 12 2 3.4 90 0;L 3 12 3 8;L 3 8 4.6 6.1 3 4.2 3 .4;E 1 .2 2 3.4 0 -90
        ~ 10|E 2.4 5 2 1.6 180 0;E 6.2 5.4 1.9 1.8 180 360
        · 4|L 1.2 5.6 1.2 5.7
        □ 10.5|L .8 0 .8 12 8.4 12 8.4 0 .8 0
        """;
}
