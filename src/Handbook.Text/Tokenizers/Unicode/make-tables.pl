#!/usr/bin/perl
# Writes unicode.txt: what .NET does not know under invariant globalization, from perl's own Unicode tables.
#   perl make-tables.pl > unicode.txt
use strict;
use warnings;
use Unicode::UCD qw(prop_invlist prop_invmap charinfo);

print "# Unicode ", Unicode::UCD::UnicodeVersion(), "; written by make-tables.pl\n";

# Decompositions, one step deep; < marks compatibility. Hangul is computed.
for my $point (0x80 .. 0x2FA1F) {
    my $info = charinfo($point) or next;
    my $mapping = $info->{decomposition};
    next if $mapping eq '' || ($point >= 0xAC00 && $point <= 0xD7A3);
    my $kind = $mapping =~ s/^<[^>]*> *// ? 'compat' : 'canon';
    printf "%s %X %s\n", $kind, $point, $mapping =~ s/\b0+(?=[0-9A-F])//gr;
}

# Combining classes other than 0, and compositions that are excluded.
my ($starts, $classes) = prop_invmap('Canonical_Combining_Class');
for my $i (0 .. $#$starts) {
    my $class = $classes->[$i];
    $class = Unicode::UCD::prop_value_aliases('ccc', $class) if $class !~ /^\d+$/;
    next if !defined $class || $class eq '0' || $class eq 'NR';
    my ($number) = grep { /^\d+$/ } Unicode::UCD::prop_value_aliases('ccc', $classes->[$i]), $classes->[$i];
    printf "ccc %d %X-%X\n", $number, $starts->[$i], $starts->[$i + 1] - 1;
}
ranges('exclude', 'Full_Composition_Exclusion');
ranges("prop $_", $_) for qw(Alphabetic Uppercase Lowercase Emoji Emoji_Presentation Emoji_Modifier Emoji_Modifier_Base Emoji_Component
    Extended_Pictographic Ideographic Unified_Ideograph Diacritic Math Dash Hex_Digit ID_Start ID_Continue XID_Start XID_Continue
    Variation_Selector Quotation_Mark Default_Ignorable_Code_Point Cased Case_Ignorable Join_Control);
my ($scriptStarts, $scripts) = prop_invmap('Script');
my %script;
for my $i (0 .. $#$scriptStarts) {
    my $end = $i < $#$scriptStarts ? $scriptStarts->[$i + 1] - 1 : 0x10FFFF;
    push @{ $script{ $scripts->[$i] } }, sprintf('%X-%X', $scriptStarts->[$i], $end);
}
for my $name (sort keys %script) {
    next if $name eq 'Unknown';
    my ($short) = Unicode::UCD::prop_value_aliases('sc', $name);
    print "script $name $short @{ $script{$name} }\n";
}
# Simple case mappings: runs of code points whose images run along with them. .NET leaves some out (ſ, K).
runs('lower', 'Simple_Lowercase_Mapping');
runs('fold', 'Simple_Case_Folding');

sub ranges { my ($label, $property) = @_; print "$label ", spans(prop_invlist($property)), "\n"; }

sub runs {
    my ($label, $property) = @_;
    my ($starts, $images) = prop_invmap($property);
    for my $i (0 .. $#$starts) {
        next if ref $images->[$i] || $images->[$i] eq '0' || $images->[$i] == 0;
        printf "%s %X-%X %X\n", $label, $starts->[$i], $starts->[$i + 1] - 1, $images->[$i];
    }
}

sub spans {
    my @list = @_;
    my @spans;
    for (my $i = 0; $i < @list; $i += 2) {
        push @spans, sprintf('%X-%X', $list[$i], ($i + 1 < @list ? $list[$i + 1] : 0x110000) - 1);
    }
    return "@spans";
}
