#!/usr/bin/perl
# A program on libfcgi: `libfcgi.pl SOCKET WORKERS`. Its workers are forked, and replaced when they die; each serves one
# request at a time, and reads ahead. What it does with a request stands in ../libfcgi.py.
use strict;
use warnings;
use Digest::MD5 qw( md5_hex );
use FCGI;
use Time::HiRes qw( sleep time );

my ( $path, $workers ) = @ARGV;
my $socket = FCGI::OpenSocket( $path, 128 );

sub decode {
    my $text = shift;
    $text =~ tr/+/ /;
    $text =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
    return $text;
}

sub mark {
    my ( $query, $what ) = @_;
    return unless defined $query->{marks};
    open my $file, ">>", $query->{marks} or die "cannot open $query->{marks}: $!";
    # one write, and so one line, whoever else writes
    syswrite $file, sprintf "%.6f %d %s %s\n", time, $$, $query->{name}, $what;
    close $file;
}

sub read_body {
    my ( $stdin, $length ) = @_;
    my $body = "";
    while ( length $body < $length ) {
        my $read = read $stdin, $body, $length - length $body, length $body;
        last unless $read;
    }
    return $body;
}

sub serve {
    my %params;
    my $request = FCGI::Request( \*STDIN, \*STDOUT, \*STDERR, \%params, $socket );
    while ( $request->Accept >= 0 ) {
        my %query = map { decode $_ } map { split /=/, $_, 2 } split /&/, $params{QUERY_STRING} // "";
        my $do = $query{do} // "";
        mark( \%query, "+" );
        kill KILL => $$ if $do eq "kill itself";
        my $body = read_body( \*STDIN, $params{CONTENT_LENGTH} || 0 );
        sleep $query{seconds} if $query{seconds};
        if ( $do eq "sleep until told" ) {
            sleep 0.002 until -e $query{gate};
        }
        mark( \%query, "-" );
        print "Content-Type: text/plain\r\nX-Received: ", length $body, " ", md5_hex($body), "\r\n\r\n";
        if    ( $do eq "tell parameters" ) { print map { "$_=$params{$_}\n" } sort keys %params }
        elsif ( $do eq "echo" )            { print $body }
        else                               { print $query{name} // "" }
    }
    exit 0;
}

my $alive = 0;
while (1) {
    while ( $alive < $workers ) {
        my $pid = fork;
        die "cannot fork: $!" unless defined $pid;
        serve() unless $pid;
        $alive++;
    }
    wait;
    $alive--;
}
