#!/usr/bin/perl
# Writes unicode.txt out of the Unicode character database: a folder with its text files (Debian's package unicode-data: /usr/share/unicode).
#   perl make-tables.pl /usr/share/unicode > unicode.txt
use strict;
use warnings;

my $folder = shift // '/usr/share/unicode';

sub open_file { my $name = shift; open my $file, '<:encoding(UTF-8)', "$folder/$name" or die "$folder/$name: $!\n"; return $file; }

# [first, last, fields…] of every line of a file that lists ranges of code points.
sub ranges_of {
    my $file = open_file(shift);
    my @rows;
    while (my $line = <$file>) {
        $line =~ s/\s*#.*//s;
        my ($span, @fields) = split /\s*;\s*/, $line;
        next unless defined $span && $span =~ /^([0-9A-F]+)(?:\.\.([0-9A-F]+))?$/;
        push @rows, [hex $1, hex($2 // $1), map { s/\s+$//r } @fields];
    }
    return sort { $a->[0] <=> $b->[0] } @rows;
}

# Ranges that touch become one.
sub spans {
    my @spans;
    for my $row (sort { $a->[0] <=> $b->[0] } @_) {
        if (@spans && $spans[-1][1] + 1 >= $row->[0]) { $spans[-1][1] = $row->[1] if $row->[1] > $spans[-1][1]; }
        else { push @spans, [@$row[0, 1]]; }
    }
    return join ' ', map { sprintf '%X-%X', @$_ } @spans;
}

# Ranges by the value of their first field.
sub by_value { my %groups; push @{ $groups{ $_->[2] } }, $_ for @_; return \%groups; }

my $ages = open_file('DerivedAge.txt');
my ($version) = <$ages> =~ /DerivedAge-([\d.]+)\.txt/ or die "DerivedAge.txt does not name its version\n";
print "# Unicode $version; written by make-tables.pl\n";

# The version in which code points were assigned; tables of an older version are those of this one without what is younger.
my $byAge = by_value(ranges_of('DerivedAge.txt'));
print "age $_ ", spans(@{ $byAge->{$_} }), "\n" for sort { $a <=> $b } keys %$byAge;

# UnicodeData.txt: category, combining class, decomposition (one step; <…> marks compatibility; Hangul is computed), lower case.
my (%category, %class, @decompositions, @lower);
my $data = open_file('UnicodeData.txt');
my $open;
while (my $line = <$data>) {
    my @field = split /;/, $line;
    my $point = hex $field[0];
    if ($field[1] =~ /, First>$/) { $open = $point; next; }
    my $first = $field[1] =~ /, Last>$/ ? $open : $point;
    push @{ $category{ $field[2] } }, [$first, $point];
    push @{ $class{ $field[3] } }, [$first, $point] if $field[3];
    if ($field[5] ne '') {
        my $mapping = $field[5];
        my $kind = $mapping =~ s/^<[^>]*> *// ? 'compat' : 'canon';
        push @decompositions, sprintf("%s %X %s\n", $kind, $point, $mapping =~ s/\b0+(?=[0-9A-F])//gr);
    }
    push @lower, [$point, hex $field[13]] if $field[13] ne '';
}
print "category $_ ", spans(@{ $category{$_} }), "\n" for sort keys %category;
print @decompositions;
print "ccc $_ ", spans(@{ $class{$_} }), "\n" for sort { $a <=> $b } keys %class;
print 'exclude ', spans(grep { $_->[2] eq 'Full_Composition_Exclusion' } ranges_of('DerivedNormalizationProps.txt')), "\n";

my %property;
for my $name (qw(PropList.txt DerivedCoreProperties.txt emoji/emoji-data.txt)) {
    push @{ $property{ $_->[2] } }, $_ for ranges_of($name);
}
for my $name (qw(Alphabetic Uppercase Lowercase Emoji Emoji_Presentation Emoji_Modifier Emoji_Modifier_Base Emoji_Component
    Extended_Pictographic Ideographic Unified_Ideograph Diacritic Math Dash Hex_Digit ID_Start ID_Continue XID_Start XID_Continue
    Variation_Selector Quotation_Mark Default_Ignorable_Code_Point Cased Case_Ignorable Join_Control)) {
    print "prop $name ", spans(@{ $property{$name} // die "no property $name\n" }), "\n";
}
my $breaks = by_value(ranges_of('auxiliary/GraphemeBreakProperty.txt'));
print "break $_ ", spans(@{ $breaks->{$_} }), "\n" for sort keys %$breaks;
my %conjunct;
push @{ $conjunct{ $_->[3] } }, $_ for grep { $_->[2] eq 'InCB' } ranges_of('DerivedCoreProperties.txt');
print "conjunct $_ ", spans(@{ $conjunct{$_} }), "\n" for sort keys %conjunct;

# Scripts, each with its short name.
my %short;
my $aliases = open_file('PropertyValueAliases.txt');
while (<$aliases>) { $short{$2} = $1 if /^sc ; (\w+)\s*; (\w+)/; }
my $scripts = by_value(ranges_of('Scripts.txt'));
print "script $_ $short{$_} ", spans(@{ $scripts->{$_} }), "\n" for sort keys %$scripts;

# Simple case mappings: runs of code points whose images run along with them.
runs('lower', @lower);
runs('fold', map { [$_->[0], hex $_->[3]] } grep { $_->[2] =~ /^[CS]$/ } ranges_of('CaseFolding.txt'));

sub runs {
    my ($label, @pairs) = @_;
    my @runs;
    for my $pair (@pairs) {
        my ($point, $image) = @$pair;
        if (@runs && $runs[-1][1] + 1 == $point && $runs[-1][2] + $point - $runs[-1][0] == $image) { $runs[-1][1] = $point; }
        else { push @runs, [$point, $point, $image]; }
    }
    printf "%s %X-%X %X\n", $label, @$_ for @runs;
}
